"""The functions as they are deployed: each in a process of its own, driven by the AWS Runtime Interface Emulator.

A cold start has three parts that are ours: the import of the handler; the start of its services (settings, keys, the
connection to PostgreSQL); and the first invocation's own work. Beside them are the emulator, the start of Python and
Lambda's runtime client, which are the same for every function.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_local.packaging.sizes import MIB, Size, size_of

from tests.bench import corpus
from tests.bench.measure import Samples, patience
from tests.bench.result import Grid, Row
from tests.bench.rows.imports import import_bar, one_core
from tests.bench.stage import Stage
from tests.support.artifacts import Artifacts, build_artifacts, python
from tests.support.emulator import EmulatedFunction
from tests.support.functions import metrics_of, sample
from tests.support.webhooks import SECRET, running_endpoint

_NAMES = ("api", "checkout", "commit", "fanout", "maintenance", "reencrypt")
_PROJECT_FILES = 200
_IMPORT = """
import os, sys, time
cpu, begun = time.process_time(), time.perf_counter()
__import__(sys.argv[1].rpartition(".")[0])
took = time.perf_counter() - begun, time.process_time() - cpu
os.write(2, b'IMPORT {"seconds": %.6f, "cpu": %.6f}\\n' % took)
"""
_STARTER = f"""{_IMPORT}
import runpy
runpy.run_module("awslambdaric", run_name="__main__", alter_sys=True)
"""

Event = Callable[[int, int], Any]
"""Given the numbers of the container and of the invocation."""


@dataclass
class _Measured:
    name: str
    size: Size
    total: Samples = field(default_factory=lambda: Samples("cold: request to answer"))
    imported: Samples = field(default_factory=lambda: Samples("import"))
    started: Samples = field(default_factory=lambda: Samples("start"))
    first: Samples = field(default_factory=lambda: Samples("first work"))
    warm: Samples = field(default_factory=lambda: Samples("warm"))
    round_trip: Samples = field(default_factory=lambda: Samples("warm: request to answer"))
    peak_bytes: int = 0

    @property
    def other(self) -> float:
        parts = (self.imported, self.started, self.first)
        return self.total.median - sum(samples.median for samples in parts)


def emulated_functions(stage: Stage) -> Row:
    row = Row("functions", "Functions from their artifacts, in the AWS Runtime Interface Emulator, on one core")
    artifacts = build_artifacts(stage.disk / "artifacts", _NAMES)
    layer = size_of(artifacts.layer)
    reference = Samples("import fastapi, for comparison")
    row.samples.append(reference)
    measured = []
    with _events(stage) as (events, variables):
        for name, event in events.items():
            measured.append(_measure(stage, artifacts, name, event, variables, reference))
    for one in measured:
        row.samples += [_named(one.name, samples) for samples in (one.imported, one.started, one.first, one.warm)]
        import_bar(row, one.name, one.imported, reference)
    row.grid = _grid(measured)
    row.notes.append(
        f"the layer, which all have: {layer.zipped_bytes / MIB:.1f} MiB as a zip, "
        f"{layer.unpacked_bytes / MIB:.1f} unpacked (Lambda allows 250 with a function)"
    )
    row.notes.append(
        "ratios are of processor time; *rest* is the emulator, the start of Python and of Lambda's runtime client"
    )
    return row


def _grid(measured: list[_Measured]) -> Grid:
    columns = (
        "function",
        "import",
        "start",
        "first work",
        "rest",
        "cold, in all",
        "warm",
        "peak memory",
        "zip",
        "unpacked",
    )
    grid = Grid(columns)
    for one in measured:
        times = [
            one.imported.median,
            one.started.median,
            one.first.median,
            one.other,
            one.total.median,
            one.warm.median,
        ]
        grid.rows.append(
            (
                one.name,
                *(f"{seconds * 1000:.{1 if seconds < 0.02 else 0}f} ms" for seconds in times),
                f"{one.peak_bytes / MIB:.0f} MiB",
                f"{one.size.zipped_bytes / MIB:.2f} MiB",
                f"{one.size.unpacked_bytes / MIB:.2f} MiB",
            )
        )
    return grid


def _named(name: str, samples: Samples) -> Samples:
    return Samples(f"{name}: {samples.name}", samples.values, samples.cpu)


def _measure(
    stage: Stage, artifacts: Artifacts, name: str, event: Event, variables: Mapping[str, str], reference: Samples
) -> _Measured:
    found = _Measured(name, size_of(artifacts.function(name)))
    colds = stage.times(9, 3)
    for container in range(colds + 1):
        with _started(stage, artifacts, name, variables) as function:
            patience.wait()
            taken = _invoke(function, event(container, container))
            if not container:  # it also brings the files into memory
                continue
            found.total.values.append(taken)
            took = _import_of(function)
            found.imported.values.append(took["seconds"])
            found.imported.cpu.append(took["cpu"])
            _import_fastapi(artifacts, reference)
            (one,) = _metrics(function)
            found.started.values.append(one["start.duration"] / 1000)
            found.first.values.append((one["invocation.duration"] - one["start.duration"]) / 1000)
    with _started(stage, artifacts, name, variables) as function:
        for warm in range(stage.times(40, 10) + 1):
            found.round_trip.values.append(_invoke(function, event(colds + 1, colds + 1 + warm)))
        del found.round_trip.values[0]
        found.warm.values = [one["invocation.duration"] / 1000 for one in _metrics(function)[1:]]
        found.peak_bytes = _peak_bytes(function.runtime.pid)
    return found


@contextmanager
def _started(stage: Stage, artifacts: Artifacts, name: str, variables: Mapping[str, str]) -> Iterator[EmulatedFunction]:
    """Start a function in a container that nothing was in before."""
    folder = stage.fresh(f"container-{name}")
    folder.mkdir()
    found = {**variables, "WORKDIR": str(folder / "manifold"), "PROJECTS_WORKSPACE_TMPFS_DIR": str(folder / "sets")}
    starter = ["taskset", "-c", one_core(), *python("-c", _STARTER)]
    function = EmulatedFunction(name, found, folder, paths=artifacts.paths(name), starter=starter)
    try:
        yield function
    finally:
        function.stop()
        shutil.rmtree(folder)


def _invoke(function: EmulatedFunction, event: Any) -> float:
    answer = function.invoke(event)
    assert answer.error is None, f"{answer.payload}\n{function.log()}"
    assert answer.payload.get("statusCode", 200) < 400, answer.payload
    return answer.seconds


def _import_of(function: EmulatedFunction) -> dict[str, float]:
    (line,) = (line for line in function.log().splitlines() if line.startswith("IMPORT "))
    found: dict[str, float] = json.loads(line.removeprefix("IMPORT "))
    return found


def _metrics(function: EmulatedFunction) -> list[Mapping[str, float]]:
    """Return what each invocation has measured."""
    found = [metrics_of(line) for line in function.log().splitlines()]
    return [one for one in found if "invocation.duration" in one]


def _peak_bytes(process: int) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    (peak,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(peak.split()[1]) << 10


def _import_fastapi(artifacts: Artifacts, samples: Samples) -> None:
    """Measure what a handler's import is compared with: from the same files, in the same way, in the same moment."""
    done = subprocess.run(
        ["taskset", "-c", one_core(), *python("-c", _IMPORT, "fastapi.x")],
        env={"PYTHONPATH": os.pathsep.join(map(str, artifacts.paths("api"))), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    took = json.loads(done.stderr.removeprefix("IMPORT "))
    samples.values.append(took["seconds"])
    samples.cpu.append(took["cpu"])


@contextmanager
def _events(stage: Stage) -> Iterator[tuple[dict[str, Event], dict[str, str]]]:
    """Make a project; return an event for each function, and the variables that all of them have."""
    node = stage.node()
    source = stage.fresh("functions-source")
    corpus.write_tree(source, stage.files[:_PROJECT_FILES])
    project = node.manifold.projects.create(LOCAL_PRINCIPAL, "functions").id
    node.manifold.transfer.import_folder(LOCAL_PRINCIPAL, project, source)

    def checkout(container: int, number: int) -> Any:
        asked = {"tenant": None, "user": None, "project": "functions", "session": f"bench-{container}"}
        return sample("checkout-direct", **asked, generation=None, paths=[])

    def commit(container: int, number: int) -> Any:
        change = {"op": "put", "path": "numbered", "text": f"{number} " * 300}
        return {"project": "functions", "changes": [change]}

    events: dict[str, Event] = {
        "api": lambda *_: sample("http-get"),
        "checkout": checkout,
        "commit": commit,
        "fanout": lambda *_: sample("sqs-nudges"),
        "reencrypt": lambda *_: sample("schedule"),
        "maintenance": lambda *_: sample("schedule"),
    }
    with running_endpoint() as endpoint:
        variables = {
            **stage.environment(),
            "AWS_LAMBDA_FUNCTION_NAME": "manifold-bench",
            "WEBHOOKS_URLS": endpoint.url,
            "WEBHOOKS_SECRET": SECRET,
            "PROJECTS_ENCRYPTION_FILE_KEYSTORE_PATH": str(stage.disk / "workdir" / ".keystore"),
        }
        del variables["PROJECTS_WORKSPACE_CACHE_DIR"]
        try:
            yield events, variables
        finally:
            shutil.rmtree(source)
            stage.drop(node)
