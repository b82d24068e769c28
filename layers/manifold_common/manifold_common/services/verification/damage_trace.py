"""Which generations, tags and paths need what is damaged: a project's history, folded once more.

A damaged commit object makes its generation unreadable, and those after it up to the next checkpoint; a damaged
checkpoint its own, up to the next one. Of damaged content, whatever files need it, for as long as they do.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from manifold_common.domain.paths import to_display
from manifold_common.domain.tree import Changes, Entry, Tree, chunk_ids
from manifold_common.format.places import Container, Places
from manifold_common.ids import Generation, TagName

NAMED_PATHS: Final = 10
NAMED_TAGS: Final = 100

Spoilt: TypeAlias = Mapping[Container, str]
"""The names of damaged objects with content."""


@dataclass(slots=True)
class Touched:
    """What a damaged object touches."""

    last_generation: Generation | None = None
    """The last that cannot be read whole without it, of those that were looked at; ``None``: none is known."""
    tags: set[TagName] = field(default_factory=set)
    paths: set[bytes] = field(default_factory=set)

    def named_tags(self) -> tuple[TagName, ...]:
        return tuple(sorted(self.tags)[:NAMED_TAGS])

    def named_paths(self) -> tuple[str, ...]:
        return tuple(to_display(path) for path in sorted(self.paths)[:NAMED_PATHS])


class DamageTrace:
    """Follows a history generation by generation."""

    def __init__(
        self,
        tree: Tree | None,
        places: Places,
        spoilt: Spoilt,
        damaged: Collection[str],
        tags: Mapping[Generation, Sequence[TagName]],
    ) -> None:
        """
        Args:
            tree: before the first generation that follows; ``None``: it is not known.
            places: of its content.
            damaged: names of objects.
            tags: by the generation that they name.
        """
        self._spoilt = spoilt
        self._damaged = damaged
        self._tags = tags
        self._needs: dict[bytes, frozenset[str]] = {}
        """Of each path that needs damaged objects now, which."""
        self._users: Counter[str] = Counter()
        """How many paths need each object now."""
        self._unreadable: set[str] = set()
        """Commit objects and checkpoints without which this generation is not known."""
        self._touched: defaultdict[str, Touched] = defaultdict(Touched)
        self._at: Generation | None = None
        self._place(tree or {}, places)

    def commit(self, key: str, changes: Changes, places: Places) -> None:
        """Go on to the next generation. Args: ``key``: of its commit object, which can be read."""
        if key in self._damaged:
            self._unreadable.add(key)
        for path in changes.deletes:
            self._set(path, frozenset())
        self._place(changes.upserts, places)

    def unreadable(self, key: str) -> None:
        """Hear that a commit object or the checkpoint of this generation cannot be read: what it changed is not known
        before a checkpoint says so."""
        self._unreadable.add(key)

    def checkpoint(self, tree: Tree, places: Places) -> None:
        """Go on to the next generation by what its checkpoint says."""
        before = self._in_the_way()
        self._begin(tree, places)
        self._leave(before - self._in_the_way())

    def gap(self) -> None:
        """Hear that generations were removed: what the next one is like is not known before a checkpoint says so."""
        self._leave(self._in_the_way())
        self._begin({}, {})

    def reached(self, generation: Generation) -> None:
        """Say which generation it is that has been told of."""
        self._at = generation
        if tags := self._tags.get(generation):
            for name in self._in_the_way():
                self._touched[name].tags.update(tags)

    def ended(self) -> Mapping[str, Touched]:
        """Return what each damaged object touches. Paths of the last generation come before those of older ones."""
        now: defaultdict[str, set[bytes]] = defaultdict(set)
        for path, names in self._needs.items():
            for name in names:
                now[name].add(path)
        self._leave(self._in_the_way())
        for name, paths in now.items():
            self._touched[name].paths = paths
        return self._touched

    def _begin(self, tree: Tree, places: Places) -> None:
        self._unreadable.clear()
        self._needs.clear()
        self._users.clear()
        self._place(tree, places)

    def _in_the_way(self) -> set[str]:
        return self._unreadable | self._users.keys()

    def _leave(self, names: Iterable[str]) -> None:
        for name in names:
            self._touched[name].last_generation = self._at

    def _place(self, entries: Mapping[bytes, Entry], places: Places) -> None:
        spoilt = {chunk: name for chunk, place in places.items() if (name := self._spoilt.get(place.block.container))}
        for path, entry in entries.items():
            found = frozenset(spoilt[chunk] for chunk in chunk_ids(entry) if chunk in spoilt) if spoilt else frozenset()
            if found or path in self._needs:
                self._set(path, found)

    def _set(self, path: bytes, names: frozenset[str]) -> None:
        before = self._needs.pop(path, frozenset())
        if names:
            self._needs[path] = names
        self._users.update(names - before)
        for name in names - before:
            known = self._touched[name].paths
            if len(known) < NAMED_PATHS:
                known.add(path)
        for name in before - names:
            self._users[name] -= 1
            if not self._users[name]:
                del self._users[name]
                self._leave([name])
