"""Several writers of one project."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.ids import ProjectId
from manifold_common.services.projects.edits import MakeFolder

from tests.bench.measure import Samples
from tests.bench.result import Row
from tests.bench.rows.bulk import imported_project
from tests.bench.stage import Node, Stage

_WRITERS = 8
_LIMIT_SECONDS = 120
_ROOT = Path(__file__).parents[3]


def eight_writers(stage: Stage) -> Row:
    row = Row("writers", f"{_WRITERS} writers (processes), one project of 10,000 files, disjoint paths")
    node = stage.node()
    project = imported_project(stage, node, "writers")
    node.manifold.edits.apply(
        LOCAL_PRINCIPAL, project, [MakeFolder(b"writers/%d" % number) for number in range(_WRITERS)]
    )
    commits = stage.times(12, 4)
    alone, together = Samples(f"1 writer, {commits} commits"), Samples(f"{_WRITERS} writers, {commits} commits each")
    lost, puts = 0, 0
    for _ in range(stage.times(3, 1)):
        for samples, writers in ((alone, 1), (together, _WRITERS)):
            seconds, used, missing = _race(stage, node, project, writers, commits)
            samples.values.append(seconds)
            lost += missing
            puts = max(puts, used) if writers > 1 else puts
    row.samples = [alone, together]
    ratio = (_WRITERS * commits / together.median) / (commits / alone.median)
    row.at_least("commits/s of 8 / of 1 >= 0.8", ratio, 0.8)
    row.exactly("commits lost = 0", lost, 0)
    row.notes.append(
        f"{commits / alone.median:.1f} commits/s alone, {_WRITERS * commits / together.median:.1f} together; "
        f"{puts / (_WRITERS * commits):.2f} PUTs for each commit that landed"
    )
    stage.drop(node)
    return row


def _race(stage: Stage, node: Node, project: ProjectId, writers: int, commits: int) -> tuple[float, int, int]:
    """Return (seconds from the first start to the last end, PUTs, commits that are missing afterwards)."""
    before = node.manifold.context.log.load(LOCAL_PRINCIPAL.tenant, project)
    with ExitStack() as stack:
        processes = []
        for number in range(writers):
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.bench.child", "writer", project, str(number), str(commits)],
                cwd=_ROOT,
                env={**os.environ, **stage.environment()},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.callback(_end, process)
            processes.append(process)
        for process in processes:
            assert process.stdout is not None
            if (said := process.stdout.readline()) != "ready\n":
                raise RuntimeError(f"a writer did not start: it said {said!r}, its exit code is {process.poll()}")
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        found = [json.loads(process.communicate(timeout=_LIMIT_SECONDS)[0]) for process in processes]
    after = node.manifold.context.log.load(LOCAL_PRINCIPAL.tenant, project)
    new = {path for path in after.tree if path not in before.tree}
    landed = min(len(new), after.head.generation - before.head.generation)
    seconds = max(one["ended"] for one in found) - min(one["begun"] for one in found)
    return seconds, sum(int(one["puts"]) for one in found), writers * commits - landed


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None and not pipe.closed:
            pipe.close()
