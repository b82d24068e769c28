"""Large files, and many of them."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.ids import ProjectId, SessionId

from tests.bench import corpus, rivals
from tests.bench.measure import Samples, Watch, side_by_side, timed, touch_memory
from tests.bench.result import Row
from tests.bench.rows.bulk import COPY, TREE_BYTES, imported_project
from tests.bench.rows.small import Desk
from tests.bench.stage import Stage

_MIB = 1 << 20
_CHILD_SECONDS = 180
_COPIES = 10
_ROOT = Path(__file__).parents[3]


def big_files(stage: Stage) -> Row:
    size = stage.times(512, 64) * _MIB
    row = Row("big", f"{size // _MIB} MiB incompressible + {size // _MIB} MiB text, in one file each")
    folder = stage.fresh("big")
    corpus.write_big_files(folder, stage.files, size)
    commit, checkout, copying = Samples("commit, store without a limit"), Samples("cached checkout"), Samples(COPY)
    runs: list[dict[str, float]] = []
    for number in range(stage.times(5, 1)):
        stage.wait_until_quiet()
        runs.append(_child(stage, "big", f"big-{number}", str(folder), "sink"))
        commit.values.append(runs[-1]["commit_seconds"])
        checkout.values.append(runs[-1]["checkout_seconds"])
        touch_memory(stage.ram, 2 * size)
        copying.values.append(rivals.copy(folder, stage.fresh("cp")))
    stage.wait_until_quiet()
    to_s3 = _child(stage, "big", "big-s3", str(folder), "s3")
    stored = Samples("commit to S3", [to_s3["commit_seconds"]])
    row.samples = [commit, checkout, copying, stored]
    total = runs[0]["bytes"] / 1e6
    row.at_least("commit >= 400 MB/s before the store's limit", total / commit.median, 400, "MB/s")
    row.at_least("cached checkout >= 800 MB/s", total / checkout.median, 800, "MB/s")
    for what, peak in (("commit", "commit_peak_bytes"), ("checkout", "checkout_peak_bytes")):
        above = max(run[peak] - run["idle_bytes"] for run in [*runs, to_s3]) / _MIB
        row.at_most(f"memory of the {what} <= 256 MiB above idle", above, 256, "MiB")
    row.notes += [
        f"commit to S3 {total / stored.median:.0f} MB/s; the server alone takes "
        f"{to_s3['stored_bytes'] / 1e6 / _raw_upload_seconds(stage, int(to_s3['stored_bytes'])):.0f} MB/s of "
        f"{to_s3['stored_bytes'] / 1e6:.0f} MB stored",
        f"idle process {statistics.median(run['idle_bytes'] for run in runs) / _MIB:.0f} MiB",
    ]
    shutil.rmtree(folder)
    return row


def _raw_upload_seconds(stage: Stage, size: int) -> float:
    """Put as many bytes, in objects of 16 MiB, three at a time, as a commit does: what the server itself takes."""
    node = stage.node()
    pack = os.urandom(16 * _MIB)
    requests = node.manifold.context.workers.requests
    with timed() as watch:
        waiting = []
        for number in range(max(1, size // len(pack))):
            waiting.append(requests.submit(node.store.put, f"raw/{stage.fresh('o').name}-{number}", pack))
            if len(waiting) >= 3:
                waiting.pop(0).result()
        for put in waiting:
            put.result()
    stage.drop(node)
    return watch.seconds * size / (max(1, size // len(pack)) * len(pack))


def _child(stage: Stage, *arguments: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.child", *arguments],
        cwd=_ROOT,
        env={**os.environ, **stage.environment()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_CHILD_SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the measuring process failed: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def many_files(stage: Stage) -> Row:
    copies = stage.times(_COPIES, 3)
    count = copies * corpus.FILES
    row = Row("many", f"{count:,} files")
    folder = stage.fresh("many")
    corpus.write_tree(folder, stage.files, copies=copies)
    node = stage.node()
    few = imported_project(stage, node, "few")
    project = node.manifold.projects.create(LOCAL_PRINCIPAL, "many").id
    first = Samples(f"first commit of {count:,}")
    with timed(first):
        node.manifold.transfer.import_folder(LOCAL_PRINCIPAL, project, folder)
    desk = Desk.at(stage, node, project, "many")
    shutil.rmtree(folder)
    paths = [(f"copy{copy}/{path}", b"") for copy in range(copies) for path, _ in stage.files]
    desk.files = paths
    small = side_by_side({f"commit of 10 of {count:,}": (desk.edit_and_commit, stage.times(7, 3))})
    node.manifold.sessions.close(LOCAL_PRINCIPAL, desk.session)
    stage.drop(node)

    def cold(which: ProjectId) -> Watch:
        fresh = stage.node()
        touch_memory(stage.ram, (copies if which == project else 1) * TREE_BYTES)
        with timed() as watch:
            fresh.manifold.sessions.checkout(LOCAL_PRINCIPAL, SessionId(stage.fresh("many").name), which)
        stage.drop(fresh)
        return watch

    names = f"cold checkout of {count:,}", f"cold checkout of {corpus.FILES:,}"
    checkouts = side_by_side(
        {names[0]: (lambda _: cold(project), stage.times(3, 1)), names[1]: (lambda _: cold(few), stage.times(5, 2))}
    )
    row.samples = [first, *small.values(), *checkouts.values()]
    row.at_most("incremental commit <= 0.6 s", next(iter(small.values())).median, 0.6, "s")
    limit = 1.2 * copies
    ratio = checkouts[names[0]].median / checkouts[names[1]].median
    row.at_most(f"cold checkout of {count:,} / of {corpus.FILES:,} <= {limit:g}", ratio, limit)
    return row
