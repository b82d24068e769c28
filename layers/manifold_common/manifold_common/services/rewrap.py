"""Wrapping data keys anew: under the KEK of the settings, in its newest version. The data itself stays as it is.

Order of effects for each key: the copy in the bucket first, then the catalog's row, if that still is as it was read.
Cut off in between, the row still names the old KEK, and the next slice does the key again: so a KEK that no row names
is named in no bucket either, and may be retired. A slice can be cut off anywhere, and several may run at once.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from manifold_common.domain.keys import Kek, KeyRecord, WrappedKey
from manifold_common.errors import ErrorKind, KeyUnavailable, ManifoldError
from manifold_common.format.key_record import encode_key_record
from manifold_common.format.layout import wrapped_key_key
from manifold_common.ids import DekId, ProjectId, TenantId
from manifold_common.ports.key_provider import KeyProvider
from manifold_common.services.context import Context

_log = logging.getLogger(__name__)

_PAGE = 100
_GIVE_UP_AFTER = 5
"""Failures in a row of keys of one provider that is away: the rest would fail as well, each after its time-out."""

Cursor = tuple[TenantId, ProjectId, DekId]


@dataclass(slots=True)
class RewrapSlice:
    """What one run did."""

    kek: Kek | None
    """Under which keys were wrapped; ``None``: new projects are not encrypted, so there is none."""
    rewrapped: int = 0
    failed: dict[DekId, str] = field(default_factory=dict)
    """Codes of the errors."""
    next: Cursor | None = None
    """Where to go on; ``None``: the end was reached. A run from the beginning tries again what failed."""


class Rewrap:
    def __init__(self, context: Context, providers: Mapping[str, KeyProvider], current: str | None) -> None:
        """``current``: name of the provider that wraps new keys, or ``None``."""
        self._context = context
        self._provider = providers[current] if current is not None else None
        self._current = current

    def run(self, after: Cursor | None = None, *, stop: Callable[[], bool] = lambda: False) -> RewrapSlice:
        """Rewrap keys until none is left or ``stop`` says so, which is asked before each.

        Raises:
            KeyUnavailable: the current provider does not answer. CatalogUnavailable.
        """
        if self._provider is None or self._current is None:
            return RewrapSlice(None)
        kek = _current_kek(self._current, self._provider.describe())
        done = RewrapSlice(kek, next=after)
        away: Counter[str] = Counter()
        for record in self._records(kek, after):
            if stop():
                return done
            wrapped_by = record.wrapped.provider
            try:
                if away[wrapped_by] >= _GIVE_UP_AFTER:
                    raise KeyUnavailable(f"the provider {wrapped_by} does not answer")
                self._rewrap(self._provider, record)
            except ManifoldError as error:
                _log.warning("key %s of project %s was not rewrapped: %s", record.dek, record.project, error.code)
                done.failed[record.dek] = error.code
                away[wrapped_by] += error.kind is ErrorKind.UNAVAILABLE
            else:
                done.rewrapped += 1
                away[wrapped_by] = 0
            done.next = (record.tenant, record.project, record.dek)
        done.next = None
        return done

    def _records(self, kek: Kek, after: Cursor | None) -> Iterator[KeyRecord]:
        while True:
            page = self._context.catalog.keys_not_under(kek, after=after, limit=_PAGE)
            yield from page
            if len(page) < _PAGE:
                return
            after = (page[-1].tenant, page[-1].project, page[-1].dek)

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


def _current_kek(provider: str, facts: Mapping[str, str]) -> Kek:
    """Return the KEK that a provider describes. Where it has no version yet, 0, which no record names."""
    version = facts["key_version"]
    return Kek(provider, facts["key_name"], int(version) if version.isdecimal() else 0)
