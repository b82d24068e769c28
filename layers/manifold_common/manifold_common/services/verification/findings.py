"""What a verification finds, as it goes."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from manifold_common.errors import CorruptObject
from manifold_common.ids import PLAIN, DekId, Generation, SessionId, TagName
from manifold_common.ports.catalog import MAX_DAMAGED, DamageRow, FoundDamage
from manifold_common.shapes.verification import Damage


class Findings:
    """Safe for several threads."""

    def __init__(self) -> None:
        self.counts = Counter[str]()
        """Of the report's fields, by name."""
        self.damaged: set[str] = set()
        self.referenced: set[str] = set()
        """Objects that something refers to."""
        self.plain: dict[str, int] = {}
        """Objects that are not sealed, and how large they are."""
        self._problems: dict[tuple[str, str, Generation | None, tuple[SessionId, ...]], Damage] = {}
        self._checked: set[str] = set()
        """What was read from beginning to end, whatever it is like."""
        self._lock = threading.Lock()

    @property
    def problems(self) -> Collection[Damage]:
        """Not more than are kept: whoever can write to the bucket can damage as much as there is."""
        return self._problems.values()

    def problem(
        self,
        error: CorruptObject,
        generation: Generation | None = None,
        sessions: tuple[SessionId, ...] = (),
        tags: tuple[TagName, ...] = (),
    ) -> None:
        name = error.object_name
        which = (name, error.reason, generation, sessions)
        found = Damage(object=name, reason=error.reason, first_generation=generation, sessions=sessions, tags=tags)
        with self._lock:
            self.damaged.add(name)
            if len(self._problems) < MAX_DAMAGED:
                self._problems.setdefault(which, found)

    def reads(self, key: str) -> None:
        """Note that an object is referred to, and read as a whole."""
        self.referenced.add(key)
        self._checked.add(key)

    def reads_no_more_than(self, keys: Iterable[str], read: Collection[str]) -> None:
        """Note that of objects with blocks, only these are read as a whole."""
        self._checked.difference_update(keys)
        self._checked.update(read)

    def note_plain(self, key: str, dek: DekId, size: int) -> None:
        if dek == PLAIN:
            self.plain[key] = size

    def count(self, **more: int) -> None:
        with self._lock:
            self.counts.update(more)

    def found(self) -> list[FoundDamage]:
        """Return what is damaged, each object once, with the first generation that refers to it."""
        found: dict[str, FoundDamage] = {}
        for problem in self.problems:
            new = FoundDamage(problem.object, problem.reason, problem.first_generation)
            known = found.setdefault(problem.object, new)
            generations = [one.first_generation for one in (known, new) if one.first_generation is not None]
            found[problem.object] = known._replace(first_generation=min(generations, default=None))
        return list(found.values())

    def sound(self, known: Mapping[str, DamageRow], *, is_all: bool) -> list[DamageRow]:
        """Return what was said to be damaged and is not. Args: ``is_all``: all that is referred to was looked at, and
        what was not is needed no more."""
        return [
            row
            for name, row in known.items()
            if name not in self.damaged and (name in self._checked or (is_all and name not in self.referenced))
        ]
