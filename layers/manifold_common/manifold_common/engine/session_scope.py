"""The path patterns of a sparse session, as its row keeps them: sealed, since they are names of the project's files."""

from __future__ import annotations

import msgspec

from manifold_common.engine.commit_writer import CommitWriter, open_note
from manifold_common.engine.data_keys import DataKeys
from manifold_common.ids import ProjectId, SessionId, TenantId
from manifold_common.ports.catalog import SessionRow

_PATTERNS = msgspec.msgpack.Decoder(list[str])


def seal_scope(
    writer: CommitWriter, tenant: TenantId, project: ProjectId, session: SessionId, patterns: tuple[str, ...]
) -> bytes:
    """Return the patterns of a session as its row keeps them; ``b""`` for a whole one."""
    if not patterns:
        return b""
    return writer.seal_note(tenant, project, _subject(session), msgspec.msgpack.encode(list(patterns)))


def scope_of(data_keys: DataKeys, row: SessionRow) -> tuple[str, ...]:
    """Return the patterns of a session, none for a whole one. Raises CorruptObject."""
    if not row.scope:
        return ()
    keys = data_keys.of(row.tenant, row.project)
    # The session may have been opened before the project was encrypted; what its paths are tells nothing of content.
    old = keys.past is not None and keys.past.generations > 0
    data = open_note(keys, row.tenant, row.project, _subject(row.scope_session or row.session), row.scope, old=old)
    return tuple(_PATTERNS.decode(data))


def _subject(session: SessionId) -> str:
    return f"scope/{session}"
