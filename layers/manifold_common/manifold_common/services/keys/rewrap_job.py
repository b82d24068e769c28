"""Rewrapping as a job: an item is a data key."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import islice

from manifold_common.domain.job import ItemState
from manifold_common.domain.keys import KeyCursor, KeyRecord
from manifold_common.errors import InvalidInput
from manifold_common.ids import TenantProject, parse_dek_id, parse_project_id, parse_tenant_id
from manifold_common.ports.catalog.keys import Keys
from manifold_common.services.jobs.kind import Plan, Work
from manifold_common.services.keys.rewrap import Gate, Rewrap, keys_not_under

_PAGE = 1000
_NAME_PARTS = 3


class RewrapJob:
    """Implements JobKind."""

    at_once = 50
    is_open = True

    def __init__(self, keys: Keys, rewrap: Rewrap, only: TenantProject | None) -> None:
        self._keys = keys
        self._rewrap = rewrap
        self._only = only

    def plan(self, cursor: str | None) -> Plan:
        kek = self._rewrap.required_kek()
        after = None if cursor is None else key_of(cursor)
        items = list(map(item_of, islice(keys_not_under(self._keys, kek, after=after, only=self._only), _PAGE)))
        return Plan(items, items[-1] if len(items) == _PAGE else None)

    def begin(self, items: Sequence[str]) -> Work:
        kek, gate = self._rewrap.required_kek(), Gate()
        names: list[KeyCursor] = []
        for item in items:
            with suppress(InvalidInput):  # it fails when its turn comes
                names.append(key_of(item))
        records = {item_of(key): key for key in self._keys.find_keys(names)}

        def work(item: str) -> ItemState:
            record = records.get(item)
            if record is None:
                key_of(item)
                return ItemState.SKIPPED
            if record.wrapped.kek == kek:
                return ItemState.SKIPPED
            with gate.passing(record):
                self._rewrap.rewrap(record)
            return ItemState.DONE

        return work


def item_of(key: KeyRecord) -> str:
    """Return the item that a key is."""
    return "/".join((key.tenant, key.project, key.dek))


def key_of(item: str) -> KeyCursor:
    """Return which key an item is. Raises InvalidInput."""
    parts = item.split("/")
    if len(parts) != _NAME_PARTS:
        raise InvalidInput("the item is not the name of a data key")
    tenant, project, dek = parts
    return parse_tenant_id(tenant), parse_project_id(project), parse_dek_id(dek)
