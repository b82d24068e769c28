"""Whose a working set is: a record beside it, which names the session and the installation."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import datetime
from typing import Annotated

import msgspec

from manifold_common.domain.access import Principal
from manifold_common.errors import InvalidInput
from manifold_common.ids import (
    IncarnationId,
    ProjectId,
    SessionId,
    TenantId,
    UserId,
    WorkingSetId,
    parse_project_id,
    parse_session_id,
    parse_tenant_id,
    parse_user_id,
    parse_working_set_id,
)

_ID_CHARACTERS = 26


class Owner(msgspec.Struct, frozen=True):
    """Whose working set a folder holds."""

    tenant: TenantId
    user: UserId
    session: SessionId
    project: ProjectId
    opened_at: Annotated[datetime, msgspec.Meta(tz=True)]
    """When the session was opened: its id may have been another one's before, which was closed."""

    def __post_init__(self) -> None:
        """Whoever makes one: what it says becomes a path. Raises InvalidInput."""
        parse_tenant_id(self.tenant)
        parse_user_id(self.user)
        parse_session_id(self.session)
        parse_project_id(self.project)

    @property
    def principal(self) -> Principal:
        return Principal(self.tenant, self.user)


class _Record(Owner, frozen=True):
    incarnation: str = ""


_RECORD = msgspec.json.Decoder(_Record)


def write_owner(meta: str, owner: Owner, incarnation: IncarnationId) -> None:
    """Put the record into the folder beside a working set. Raises OSError."""
    record = _Record(
        tenant=owner.tenant,
        user=owner.user,
        session=owner.session,
        project=owner.project,
        opened_at=owner.opened_at,
        incarnation=incarnation,
    )
    write_new(f"{meta}/owner", msgspec.json.encode(record))


def read_owner(meta: str, incarnation: IncarnationId | None = None) -> Owner | None:
    """Return the owner, or ``None`` where no record can be read.

    Args:
        incarnation: the owner must be of this installation. ``None``: of any.
    """
    try:
        with open(f"{meta}/owner", "rb") as file:
            record = _RECORD.decode(file.read())
    except (OSError, msgspec.MsgspecError):
        return None
    if incarnation is not None and record.incarnation != incarnation:
        return None
    return Owner(record.tenant, record.user, record.session, record.project, record.opened_at)


def read_id(meta: str) -> WorkingSetId | None:
    """Return what a working set is called, or ``None`` where that is not known."""
    try:
        with open(f"{meta}/id", encoding="ascii") as file:
            return parse_working_set_id(file.read(_ID_CHARACTERS))
    except (OSError, UnicodeDecodeError, InvalidInput):
        return None


def write_new(path: str, data: bytes) -> None:
    """Write a file: never through a link, nor into a file that has another name elsewhere. Raises OSError."""
    with suppress(FileNotFoundError):
        os.unlink(path)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        file.write(data)
