"""Eight processes commit to one project at the same time, on paths of their own and on paths that all share."""

from __future__ import annotations

import random
from pathlib import Path

from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.conflict import Strategy
from manifold_common.domain.tree import FILE

from tests.crash.victim import Place, build
from tests.support.contender import SHARED, Edits, Files, Made, Task, contend, files_in
from tests.support.work import check_out, committed, new_project

PROCESSES = 8
ROUNDS = 12


def changed(trees: list[Files], base: int, edits: Edits) -> Edits:
    """Return those of ``edits`` that still change something: on a newer base, others may have removed a file too."""
    return {path: mine for path, mine in edits.items() if trees[base].get(path) != mine}


def disputed(trees: list[Files], base: int, head: int, edits: Edits) -> list[str]:
    """Return which of ``edits``, made on one generation, conflict with what others had made by another."""
    before, after = trees[base], trees[head]
    mine = changed(trees, base, edits)
    return sorted(path for path in mine if after.get(path) not in (before.get(path), mine[path]))


def replay(trees: list[Files], made: Made) -> Files:
    """Return the tree that a commit makes of the last one."""
    tree = dict(trees[-1])
    for path, data in changed(trees, made.base, made.edits).items():
        if made.strategy is Strategy.THEIRS and path in made.decided:
            continue
        if data is None:
            tree.pop(path, None)
        else:
            tree[path] = data
    return tree


def test_eight_processes_lose_nothing_and_each_conflict_names_its_paths(
    tmp_path: Path, ram_folder: Path, postgres_dsn: str
) -> None:
    seed = random.getrandbits(32)
    print(f"seed {seed}")
    place = Place(tmp_path, ram_folder, postgres_dsn)
    manifold = build(place)
    try:
        first = {path: path.encode() for path in SHARED}
        project = new_project(manifold, "demo", **first)
        tasks = [Task(number, ROUNDS, seed + number, place, project) for number in range(PROCESSES)]
        reports = contend(tasks)

        by_name = {made.name: made for report in reports for made in report.made if made.is_commit}
        log = manifold.history.log(LOCAL_PRINCIPAL, project, limit=1000)[::-1]
        assert {entry.message for entry in log[1:]} == by_name.keys()
        assert [entry.generation for entry in log] == list(range(1, len(by_name) + 2))

        trees: list[Files] = [{}, first]
        known: dict[bytes, bytes] = {}
        for entry in log[1:]:
            made = by_name[entry.message]
            assert made.generation == entry.generation
            assert made.decided == disputed(trees, made.base, entry.generation - 1, made.edits), made.name
            assert made.strategy is not Strategy.FAIL or not made.decided, made.name
            trees.append(replay(trees, made))
            found = committed(manifold, project, entry.generation, known)
            files = {path.decode(): data for path, (kind, data) in found.items() if kind == FILE}
            assert files == trees[-1], made.name

        refusals = [refused for report in reports for refused in report.refused]
        for refused in refusals:
            assert refused.paths == disputed(trees, refused.base, refused.head, refused.edits)
            assert refused.was_kept
            assert set(refused.paths) <= set(SHARED)
        assert refusals
        for number, report in enumerate(reports):
            assert {made.name for made in report.made} == {f"{number}/{each}" for each in range(ROUNDS)}
            assert report.files == trees[report.base]

        assert files_in(check_out(manifold, project)) == trees[-1]
        verified = manifold.verify.run(LOCAL_PRINCIPAL, project, read_data=True)
        assert verified.ok, verified.problems
    finally:
        manifold.close()
