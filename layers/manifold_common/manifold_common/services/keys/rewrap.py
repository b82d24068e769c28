"""Wrapping data keys anew: under the KEK of the settings, in its newest version. The data itself stays as it is.

Order of effects for each key: the copy in the bucket first, then the catalog's row, if that still is as it was read.
Cut off in between, the row still names the old KEK, and the next slice does the key again: so a KEK that no row names
is named in no bucket either, and may be retired. A slice can be cut off anywhere, and several may run at once.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from manifold_common.domain.keys import Kek, KeyCursor, KeyRecord, WrappedKey
from manifold_common.errors import ErrorKind, KeyUnavailable, ManifoldError
from manifold_common.format.key_record import encode_key_record
from manifold_common.format.layout import wrapped_key_key
from manifold_common.ids import DekId, TenantProject
from manifold_common.ports.catalog.keys import Keys
from manifold_common.ports.key_provider import KeyProvider
from manifold_common.services.context import Context
from manifold_common.shapes.keys import MasterKey, Rewrapped, listed_failures

_log = logging.getLogger(__name__)

_PAGE = 100
_GIVE_UP_AFTER = 5
"""Failures in a row of keys of one provider that is away: the rest would fail as well, each after its time-out."""


class KeyTrouble(NamedTuple):
    """A data key, and what is wrong with it."""

    record: KeyRecord
    error: ManifoldError


@dataclass(slots=True)
class RewrapSlice:
    """What one run did, with the errors themselves: their kinds decide what becomes of the caller."""

    kek: Kek | None
    """Under which keys were wrapped; ``None``: new projects are not encrypted, so there is none."""
    rewrapped: int = 0
    troubles: list[KeyTrouble] = field(default_factory=list)
    """Keys that were not rewrapped."""
    next: KeyCursor | None = None
    """Where to go on; ``None``: the end was reached. A run from the beginning tries again what failed."""

    def answer(self) -> Rewrapped:
        return Rewrapped(
            current=MasterKey.of(self.kek),
            rewrapped=self.rewrapped,
            failed=listed_failures(self.troubles),
            failed_total=len(self.troubles),
            next="/".join(self.next) if self.next else None,
        )


class Rewrap:
    def __init__(self, context: Context, providers: Mapping[str, KeyProvider], current: str | None) -> None:
        """``current``: name of the provider that wraps new keys, or ``None``."""
        self._context = context
        self._provider = providers[current] if current is not None else None
        self._current = current

    def kek(self) -> Kek | None:
        """Return the key under which new data keys are wrapped; ``None``: new projects are not encrypted.

        Raises:
            KeyUnavailable: its provider does not answer.
        """
        if self._provider is None or self._current is None:
            return None
        facts = self._provider.describe()
        version = facts["key_version"]
        # Where it has no version yet, 0, which no record names.
        return Kek(self._current, facts["key_name"], int(version) if version.isdecimal() else 0)

    def pending(self, *, only: TenantProject | None = None) -> Iterator[KeyRecord]:
        """Yield what a run would rewrap. Raises KeyUnavailable, CatalogUnavailable."""
        kek = self.kek()
        return iter(()) if kek is None else keys_not_under(self._context.catalog, kek, only=only)

    def run(
        self,
        after: KeyCursor | None = None,
        *,
        only: TenantProject | None = None,
        stop: Callable[[], bool] = lambda: False,
        report: Callable[[], None] = lambda: None,
    ) -> RewrapSlice:
        """Rewrap keys until none is left or ``stop`` says so, which is asked before each.

        Args:
            only: keys of one project.
            report: called after each key.

        Raises:
            KeyUnavailable: the current provider does not answer. CatalogUnavailable.
        """
        kek = self.kek()
        if kek is None or self._provider is None:
            return RewrapSlice(None)
        done = RewrapSlice(kek, next=after)
        gate = Gate()
        for record in keys_not_under(self._context.catalog, kek, after=after, only=only):
            if stop():
                return done
            try:
                with gate.passing(record):
                    self._rewrap(self._provider, record)
            except ManifoldError as error:
                _log.warning("key %s of project %s was not rewrapped: %s", record.dek, record.project, error.code)
                done.troubles.append(KeyTrouble(record, error))
            else:
                done.rewrapped += 1
                if kek.key_version == 0:  # by wrapping, its provider has made the first version
                    done.kek = kek = self.kek() or kek
            done.next = (record.tenant, record.project, record.dek)
            report()
        done.next = None
        return done

    def _rewrap(self, provider: KeyProvider, record: KeyRecord) -> None:
        context, keys = self._context, self._context.keys
        if record.wrapped.provider == self._current:
            wrapped = provider.rewrap(record.wrapped, record.context)
        else:
            wrapped = keys.wrap_anew(record)
        self._store(record, wrapped)
        stands = context.catalog.replace_wrapped_key(record, wrapped)
        if stands is not None and stands != wrapped:
            self._store(record, stands)  # another one was faster, perhaps under a newer KEK
        keys.forget(record.tenant, record.project)

    def _store(self, record: KeyRecord, wrapped: WrappedKey) -> None:
        name = wrapped_key_key(record.tenant, record.project, record.dek)
        self._context.store.put(name, encode_key_record(replace(record, wrapped=wrapped)))


class Gate:
    """Lets no more than a few keys wait for a provider that is away."""

    def __init__(self) -> None:
        self._away: Counter[str] = Counter()
        self._last: dict[str, ManifoldError] = {}
        """How each failed that was away."""

    @contextmanager
    def passing(self, record: KeyRecord) -> Iterator[None]:
        """Raises KeyUnavailable: its provider was away for those before."""
        name = record.wrapped.provider
        if self._away[name] >= _GIVE_UP_AFTER:
            last = self._last[name]
            raise KeyUnavailable(f"not tried, since for those before it: {last.message}", hint=last.hint)
        try:
            yield
        except ManifoldError as error:
            self._away[name] += error.kind is ErrorKind.UNAVAILABLE
            self._last[name] = error
            raise
        self._away[name] = 0


def keys_not_under(
    catalog: Keys, kek: Kek, *, after: KeyCursor | None = None, only: TenantProject | None = None
) -> Iterator[KeyRecord]:
    """Yield data keys under another KEK, in order, of one project or of all. Raises CatalogUnavailable."""
    if only is not None and after is None:
        after = (*only, DekId(""))
    while True:
        page = catalog.keys_not_under(kek, after=after, limit=_PAGE)
        for record in page:
            if only not in (None, (record.tenant, record.project)):
                return
            yield record
        if len(page) < _PAGE:
            return
        after = (page[-1].tenant, page[-1].project, page[-1].dek)
