"""Commits, as the events' topic tells of them (docs/events.md)."""

from __future__ import annotations

import msgspec
from manifold_common.domain.event import PROJECT_COMMIT
from manifold_common.ids import TenantProject, parse_project_id, parse_tenant_id

from functions.invocation.decode import json_of, request_of


class _Data(msgspec.Struct):
    tenant_id: str
    project_id: str


class _Event(msgspec.Struct):
    """The part of a CloudEvent that is used. Events of other types are ignored."""

    type: str
    data: _Data | None = None


class _Commit(msgspec.Struct):
    data: _Data


def commit_of(document: bytes) -> TenantProject | None:
    """Return whose commit an event is about; ``None`` for an event about something else.

    Raises:
        InvalidInput: it is not an event.
    """
    found = json_of(document, "the record")
    event = request_of(_Event, found, "the record")
    if event.type != PROJECT_COMMIT:
        return None
    data = request_of(_Commit, found, "the record").data
    return parse_tenant_id(data.tenant_id), parse_project_id(data.project_id)
