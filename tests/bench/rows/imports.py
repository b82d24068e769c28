"""What starting costs: imports, on one core, with compiled files in place."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.measure import Samples, patience
from tests.bench.result import Row
from tests.bench.stage import Stage

FASTAPI_MS = 237
"""What ``import fastapi`` takes on the machine on which the bars were set: a bar is a ratio to it."""
_ROOT = Path(__file__).parents[3]
_API_MS, _OTHER_MS = 450, 200


def import_times(stage: Stage) -> Row:
    row = Row("imports", "Imports, on one core")
    names = sorted(path.parent.name for path in _ROOT.glob("functions/*/handler.py"))
    modules = ["fastapi", "manifold_common.bootstrap", *(f"functions.{name}.handler" for name in names)]
    bare, *loaded = _starts(["pass", *(f"import {module}" for module in modules)], stage.times(11, 3))
    for samples in loaded:
        samples.values = [one - bare.median for one in samples.values]
        samples.cpu = [one - bare.median_cpu for one in samples.cpu]
    row.samples = loaded
    for name, samples in zip(names, loaded[2:], strict=True):
        import_bar(row, name, samples, loaded[0])
    row.notes.append(f"a Python that imports nothing takes {bare.median * 1000:.0f} ms, not counted here")
    row.notes.append("ratios are of processor time")
    return row


def import_bar(row: Row, name: str, samples: Samples, fastapi: Samples) -> None:
    """Hold the import of a function's handler against its bar."""
    limit_ms = _API_MS if name == "api" else _OTHER_MS
    limit = limit_ms / FASTAPI_MS
    text = f"import of {name} <= {limit_ms} ms where fastapi takes {FASTAPI_MS}: <= {limit:.2f}x fastapi"
    row.at_most(text, samples.median_cpu / fastapi.median_cpu, limit)


def _starts(codes: list[str], times: int) -> list[Samples]:
    """Run programs in turn."""
    found = [Samples(code) for code in codes]
    for number in range(times + 1):
        for samples in found:
            patience.wait()
            cpu, begun = _children_seconds(), time.perf_counter()
            subprocess.run(
                ["taskset", "-c", one_core(), sys.executable, "-c", samples.name],
                cwd=_ROOT,
                check=True,
                timeout=60,
                stdin=subprocess.DEVNULL,
            )
            if number:  # the first also compiles
                samples.values.append(time.perf_counter() - begun)
                samples.cpu.append(_children_seconds() - cpu)
    return found


def one_core() -> str:
    return str(min(os.sched_getaffinity(0)))


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
