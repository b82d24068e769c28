"""Which master key (KEK) wraps which data keys, which of them cannot be opened, and what nothing refers to any more."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from manifold_common.domain.keys import Kek, KeyRecord
from manifold_common.errors import ManifoldError
from manifold_common.ids import TenantProject
from manifold_common.services.context import Context
from manifold_common.services.keys.rewrap import Gate, KeyTrouble, Rewrap, keys_not_under
from manifold_common.shapes.keys import DataKey, FailedKey, KeyStatus, MasterKey, MasterKeyUse, RetirableVersions

_NO_KEK: Final = Kek("", "", -1)
"""Nothing is wrapped under it."""


class KekUse(NamedTuple):
    kek: Kek
    keys: int
    """Data keys that it wraps."""
    projects: int
    is_current: bool
    """New data keys are wrapped under it."""


@dataclass(frozen=True, slots=True)
class KeyInventory:
    current: Kek | None
    """``None``: new projects are not encrypted, or its provider does not answer."""
    current_trouble: ManifoldError | None
    """Why the current KEK is not known."""
    uses: list[KekUse]
    """By provider, name and version."""
    keys: list[KeyRecord]
    """Every data key, by tenant, project and id."""
    unreadable: list[KeyTrouble]
    """Data keys that could not be opened now."""
    opened: bool
    """Whether that was tried."""
    only: TenantProject | None
    """The project that was looked at; ``None``: all, deleted ones too."""

    @property
    def pending(self) -> list[KeyRecord]:
        """Data keys that a rewrap would wrap under the current KEK."""
        return [key for key in self.keys if self.current is not None and key.wrapped.kek != self.current]

    @property
    def retirable(self) -> list[RetirableVersions]:
        """Versions that nothing needs, of the current key and of those in use: known only when all keys were seen."""
        if self.only is not None:
            return []
        lowest: dict[tuple[str, str], int] = {}
        for kek in [use.kek for use in self.uses] + ([self.current] if self.current is not None else []):
            name = kek.provider, kek.key_name
            lowest[name] = min(lowest.get(name, kek.key_version), kek.key_version)
        return [
            RetirableVersions(provider=provider, key_name=name, below=version)
            for (provider, name), version in sorted(lowest.items())
            if version > 1
        ]

    def answer(self) -> KeyStatus:
        return KeyStatus(
            current=MasterKey.of(self.current),
            current_error=self.current_trouble.message if self.current_trouble else None,
            opened=self.opened,
            master_keys=[
                MasterKeyUse(**use.kek._asdict(), keys=use.keys, projects=use.projects, current=use.is_current)
                for use in self.uses
            ],
            not_current=len(self.pending),
            retirable=self.retirable,
            unreadable=[FailedKey.with_error(*trouble) for trouble in self.unreadable],
            keys=list(map(DataKey.of_record, self.keys)),
        )


class KeyInventories:
    def __init__(self, context: Context, rewrap: Rewrap) -> None:
        self._context = context
        self._rewrap = rewrap

    def take(
        self, *, only: TenantProject | None = None, opens: bool = True, report: Callable[[], None] = lambda: None
    ) -> KeyInventory:
        """Look at every data key, or at those of one project.

        Args:
            opens: also open each, which takes a request to its provider; what opens is thrown away at once.
            report: called after each key.

        Raises:
            CatalogUnavailable.
        """
        current, trouble = self._current()
        counts: Counter[Kek] = Counter()
        owners: defaultdict[Kek, set[TenantProject]] = defaultdict(set)
        keys: list[KeyRecord] = []
        unreadable: list[KeyTrouble] = []
        gate = Gate()
        for record in keys_not_under(self._context.catalog, _NO_KEK, only=only):
            keys.append(record)
            counts[record.wrapped.kek] += 1
            owners[record.wrapped.kek].add((record.tenant, record.project))
            if opens:
                try:
                    with gate.passing(record):
                        self._context.keys.unwrap(record)
                except ManifoldError as error:
                    unreadable.append(KeyTrouble(record, error))
            report()
        uses = [KekUse(kek, counts[kek], len(owners[kek]), kek == current) for kek in sorted(counts)]
        return KeyInventory(current, trouble, uses, keys, unreadable, opens, only)

    def _current(self) -> tuple[Kek | None, ManifoldError | None]:
        try:
            return self._rewrap.kek(), None
        except ManifoldError as error:
            return None, error
