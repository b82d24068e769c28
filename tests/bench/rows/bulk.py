"""A whole tree into the store, and out of it again."""

from __future__ import annotations

import shutil

from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.ids import ProjectId, SessionId

from tests.bench import rivals
from tests.bench.measure import Run, Samples, Watch, side_by_side, timed, touch_memory
from tests.bench.result import Row
from tests.bench.stage import Node, Stage

IN_PROCESS = "manifold, in a running process"
COPY = "cp -r"
TREE_BYTES = 128 << 20
"""RAM that 10,000 files take, rounded up."""


def imported_project(stage: Stage, node: Node, name: str) -> ProjectId:
    """Return a project that holds the 10,000 files."""
    project = node.manifold.projects.create(LOCAL_PRINCIPAL, name).id
    node.manifold.transfer.import_folder(LOCAL_PRINCIPAL, project, stage.source)
    return project


def copy(stage: Stage) -> float:
    """Copy the 10,000 files, RAM to RAM, and return the seconds."""
    touch_memory(stage.ram, TREE_BYTES)
    return rivals.copy(stage.source, stage.fresh("cp"))


def first_commit(stage: Stage) -> Row:
    row = Row("first", "First commit of 10,000 source files (73 MB) to S3, encrypted")
    node = stage.node()
    imported_project(stage, node, "first-warm-up")
    requests: list[int] = []

    def manifold(number: int) -> Watch:
        project = node.manifold.projects.create(LOCAL_PRINCIPAL, f"first-{number}").id
        before = node.store.total_requests
        with timed() as watch:
            node.manifold.transfer.import_folder(LOCAL_PRINCIPAL, project, stage.source)
        requests.append(node.store.total_requests - before)
        return watch

    def command(number: int) -> float:
        return stage.command(stage.environment(), "import", "--create", f"first-command-{number}", stage.source)

    def git(number: int) -> float:
        repository = rivals.Git(stage.fresh("git"), stage.source)
        seconds = repository.first_commit()
        shutil.rmtree(repository.folder)
        return seconds

    runs: dict[str, tuple[Run, int]] = {
        IN_PROCESS: (manifold, stage.times(9, 3)),
        "manifold import": (command, stage.times(5, 1)),
        "git init, add, commit": (git, stage.times(3, 1)),
    }
    if restic := rivals.Restic.program():

        def backup(number: int) -> float:
            cache = stage.fresh("restic", in_ram=False)
            return rivals.Restic(restic, stage.s3, cache.name, cache).backup(stage.source)

        runs["restic backup"] = (backup, stage.times(5, 1))
    if not stage.quick and (rclone := rivals.Rclone.program()):
        runs["rclone copy (crypt)"] = (
            lambda number: rivals.Rclone(rclone, stage.s3, stage.fresh("rclone").name).upload(stage.source),
            1,
        )
    found = side_by_side(runs)
    row.samples = list(found.values())
    row.notes.append(f"{max(requests)} requests to the store")
    if restic:
        theirs = found["restic backup"].median
        row.at_least("restic / manifold in process >= 3", theirs / found[IN_PROCESS].median, 3)
        row.at_least("restic / manifold, whole processes >= 3", theirs / found["manifold import"].median, 3)
    else:
        row.notes.append("restic is not installed: no bar")
    stage.drop(node)
    return row


def cold_checkout(stage: Stage) -> Row:
    row = Row("cold", "Cold checkout of the same from S3, nothing cached")
    writer = stage.node()
    project = imported_project(stage, writer, "cold")
    stage.drop(writer)
    requests: list[int] = []

    def manifold(number: int) -> Watch:
        node = stage.node()
        touch_memory(stage.ram, TREE_BYTES)
        before = node.store.total_requests
        with timed() as watch:
            node.manifold.sessions.checkout(LOCAL_PRINCIPAL, SessionId(f"cold-{number}"), project)
        requests.append(node.store.total_requests - before)
        stage.drop(node)
        return watch

    def command(number: int) -> float:
        environ = stage.environment()
        seconds = stage.command(environ, "checkout", project, "--session", f"cold-command-{number}")
        shutil.rmtree(environ["PROJECTS_WORKSPACE_TMPFS_DIR"])
        return seconds

    runs: dict[str, tuple[Run, int]] = {
        IN_PROCESS: (manifold, stage.times(15, 4)),
        COPY: (lambda number: copy(stage), stage.times(15, 4)),
        "manifold checkout": (command, stage.times(5, 1)),
    }
    if program := rivals.Restic.program():
        cache = stage.fresh("restic", in_ram=False)
        restic = rivals.Restic(program, stage.s3, cache.name, cache)
        restic.backup(stage.source)
        runs["restic restore"] = (lambda number: restic.restore(stage.fresh("restic-out")), stage.times(5, 1))
    if not stage.quick and (program := rivals.Rclone.program()):
        rclone = rivals.Rclone(program, stage.s3, stage.fresh("rclone").name)
        rclone.upload(stage.source)
        runs["rclone copy (crypt)"] = (lambda number: rclone.download(stage.fresh("rclone-out")), 1)
    found = side_by_side(runs)
    row.samples = list(found.values())
    row.notes.append(f"{max(requests)} requests to the store, which has the objects in its page cache")
    if "restic restore" in found:
        theirs = found["restic restore"].median
        row.at_least("restic / manifold in process >= 5", theirs / found[IN_PROCESS].median, 5)
        row.at_least("restic / manifold, whole processes >= 5", theirs / found["manifold checkout"].median, 5)
    else:
        row.notes.append("restic is not installed: no bar for it")
    row.at_most("manifold in process / cp <= 1.5", found[IN_PROCESS].median / found[COPY].median, 1.5)
    return row


def cached_checkout(stage: Stage) -> Row:
    row = Row("cached", "New session of a cached project")
    node = stage.node()
    project = imported_project(stage, node, "cached")
    requests: list[int] = []

    def manifold(number: int) -> Watch:
        session = SessionId(f"cached-{number}")
        touch_memory(stage.ram, TREE_BYTES)
        before = node.store.total_requests
        with timed() as watch:
            node.manifold.sessions.checkout(LOCAL_PRINCIPAL, session, project)
        requests.append(node.store.total_requests - before)
        node.manifold.sessions.close(LOCAL_PRINCIPAL, session)
        return watch

    times = stage.times(21, 5)
    found = side_by_side(
        {
            IN_PROCESS: (manifold, times),
            COPY: (lambda number: copy(stage), times),
        }
    )
    row.samples = list(found.values())
    row.at_most("manifold in process / cp <= 1.0", found[IN_PROCESS].median / found[COPY].median, 1.0)
    row.exactly("requests to the store = 0", max(requests), 0)
    stage.drop(node)
    return row


def warm_checkout(stage: Stage) -> Row:
    row = Row("warm", "Warm checkout, generation unchanged")
    node = stage.node()
    project = imported_project(stage, node, "warm")
    session = SessionId("warm")
    node.manifold.sessions.checkout(LOCAL_PRINCIPAL, session, project)
    samples = Samples(IN_PROCESS)
    before = node.store.total_requests
    for _ in range(stage.times(200, 50)):
        with timed(samples):
            node.manifold.sessions.checkout(LOCAL_PRINCIPAL, session)
    row.samples = [samples]
    row.at_most("in process <= 2 ms", samples.median * 1000, 2.0, "ms")
    row.exactly("requests to the store = 0", node.store.total_requests - before, 0)
    stage.drop(node)
    return row
