"""What a project's history must be after a load, and what clients may have seen on the way (``load``)."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence

from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.ids import Generation, ProjectId
from manifold_common.services.projects.history import MAX_PAGE

from tests.support.load import Acknowledged, Failed, Files, Record, Saw, Tried, committed_files, folder_of

_SAMPLE = 8
"""Generations read as they are in the end, besides the newest."""


def messages(manifold: Manifold, project: ProjectId) -> list[str]:
    """Return the messages of all generations, oldest first; generation 0 has none."""
    found: list[str] = []
    before: Generation | None = None
    while page := manifold.history.log(LOCAL_PRINCIPAL, project, before=before, limit=MAX_PAGE):
        found += [entry.message for entry in page]
        before = page[-1].generation
    return ["", *reversed(found)]


def replace_own(tree: Files, client: str, files: Files) -> Files:
    return {**{path: data for path, data in tree.items() if not path.startswith(folder_of(client))}, **files}


class Model:
    """The trees that the history makes of what the clients tried."""

    def __init__(self, said: Sequence[str], start: Files, records: Sequence[Record]) -> None:
        """``start``: the tree of generation 1, which was there before the load."""
        self.records = records
        tried = {f"{one.client}/{one.number}": one for one in records if isinstance(one, Tried)}
        self.trees: list[Files] = [{}, start]
        self.generations: dict[str, int] = {}
        for generation, message in enumerate(said[2:], start=2):
            assert message not in self.generations, f"{message} was committed twice"
            self.generations[message] = generation
            self.trees.append(replace_own(self.trees[-1], tried[message].client, tried[message].files))

    def check(self) -> Counter[str]:
        """Hold what clients were told and shown against the history. Returns how often each outcome came."""
        counts: Counter[str] = Counter()
        own: dict[str, Files] = {}
        seen: dict[str, int] = defaultdict(int)
        for one in self.records:
            if isinstance(one, Tried):
                own[one.client] = one.files
            elif isinstance(one, Acknowledged):
                counts["saved" if one.generation is None else "acknowledged"] += 1
                if one.generation is not None:
                    name = f"{one.client}/{one.number}"
                    assert self.generations.get(name) == one.generation, f"{name} was acknowledged, and is not there"
                    assert one.generation > seen[one.client], f"{name} went back to {one.generation}"
                    seen[one.client] = one.generation
            elif isinstance(one, Failed):
                counts[self._check_failure(one)] += 1
            else:
                counts["reads"] += 1
                self._check_seen(one, own.get(one.client), seen[one.client])
                seen[one.client] = one.generation
        return counts

    def _check_failure(self, one: Failed) -> str:
        if one.number is None:
            return f"no answer to a read or save: {one.code}"
        made = f"{one.client}/{one.number}" in self.generations
        if one.in_doubt:
            return f"in doubt, {'made' if made else 'not made'}"
        assert not made, f"{one.client}/{one.number} was refused ({one.code}), and is there"
        return f"refused: {one.code}"

    def _check_seen(self, one: Saw, own: Files | None, seen: int) -> None:
        assert one.generation >= max(seen, one.floor), f"{one} is older than {seen} or {one.floor}"
        expected = self.trees[one.generation]
        if own is not None:
            expected = replace_own(expected, one.client, own)
        assert one.files == expected, f"{one.client} was shown a wrong tree at {one.generation}"

    def check_store(self, manifold: Manifold, project: ProjectId, rng: random.Random) -> None:
        """Read the newest generation and some others, and everything's bytes, as they are now."""
        newest = len(self.trees) - 1
        known: dict[bytes, bytes] = {}
        for generation in {newest, *rng.sample(range(1, newest + 1), min(_SAMPLE, newest))}:
            found = committed_files(manifold, project, generation, known)
            assert found == self.trees[generation], f"generation {generation} is not what its commits make"
        report = manifold.verify.run(LOCAL_PRINCIPAL, project, read_data=True)
        assert report.ok, report.problems
        assert (report.generation, report.commits) == (newest, newest)
