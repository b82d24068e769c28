"""From columns to the catalog's types. Each list of columns stands beside the function that reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from manifold_common.adapters.postgres.database import Row
from manifold_common.domain.job import ItemState, JobState
from manifold_common.domain.keys import Encryption, KeyRecord, WrappedKey
from manifold_common.ids import PLAIN, ProjectId, TenantId
from manifold_common.ports.catalog import (
    CheckpointRow,
    CommitRow,
    DamageRow,
    DraftRef,
    EventStream,
    Head,
    JobItem,
    JobRow,
    OutboxRow,
    ProjectRow,
    ResumableUpload,
    SessionRow,
    SessionView,
    SinkState,
    TagRow,
    Upload,
)

_HAS_KEY: Final = (
    "EXISTS (SELECT FROM project_keys AS k WHERE k.tenant_id = p.tenant_id AND k.project_id = p.project_id "
    "AND k.dek_id {} '" + PLAIN + "')"
)
_IS_DAMAGED: Final = (
    "EXISTS (SELECT FROM damaged_objects AS d WHERE d.tenant_id = p.tenant_id AND d.project_id = p.project_id)"
)
HEAD: Final = (
    "p.generation, p.head_commit_id, p.head_hash, p.skills_generation, p.committed_at, p.gc_epoch, " + _IS_DAMAGED
)
HEAD_WIDTH: Final = 7
PROJECT: Final = (
    "p.tenant_id, p.project_id, p.owner_id, p.name, p.generation, p.head_commit_id, p.head_hash, p.skills_generation, "
    f"p.committed_at, p.gc_epoch, {_IS_DAMAGED}, p.tree_bytes, p.tree_files, p.created_at, p.updated_at, p.revision, "
    f"{_HAS_KEY.format('<>')}, {_HAS_KEY.format('=')}"
)
COMMIT: Final = (
    "c.generation, c.commit_id, c.parent_id, c.record_hash, c.dek_id, c.object_bytes, c.author_id, c.session_id, "
    "c.note, c.created_at, c.request_id, c.recorded_at"
)
CHECKPOINT: Final = "k.generation, k.commit_id, k.dek_id, k.object_bytes, k.object_id"
CHECKPOINT_WIDTH: Final = 5
KEY: Final = "k.dek_id, k.provider, k.key_name, k.key_version, k.ciphertext, k.epoch, k.created_at"
DRAFT: Final = (
    "s.draft_generation, s.draft_commit_id, s.draft_parent_id, s.draft_dek_id, s.draft_bytes, s.draft_saved_at"
)
SESSION: Final = (
    f"s.tenant_id, s.user_id, s.session_id, s.project_id, s.base_generation, s.base_commit_id, {DRAFT}, s.scope, "
    "s.created_at, s.expires_at, s.working_set_id, s.working_set_node, s.durable_at, s.gave_up_draft, "
    "s.scope_session_id"
)
SESSION_WIDTH: Final = 20
SESSION_COLUMNS: Final = SESSION.replace("s.", "")
"""Those of ``sessions``, and of ``deleted_sessions``."""
NOTE_ENDED: Final = """noted AS (
    INSERT INTO ended_sessions (tenant_id, user_id, session_id, created_at)
    SELECT tenant_id, user_id, session_id, created_at FROM ended ON CONFLICT DO NOTHING
)"""
"""Goes on from ``ended``, the sessions that a statement deletes: what is gone was known."""
VIEW: Final = f"{SESSION}, {HEAD}, now()"
UPLOAD: Final = (
    "u.tenant_id, u.project_id, u.user_id, u.session_id, u.kind, u.name, u.object_id, u.draft_id, u.generation, "
    "u.dek_id, u.created_at, u.expires_at, u.stored_bytes, u.proof, u.commits"
)
RESUMABLE: Final = (
    "u.tenant_id, u.project_id, u.upload_id, u.user_id, u.dek_id, u.about, u.progress, u.received_bytes, "
    "u.total_bytes, u.spare, u.created_at, u.expires_at, u.stage, u.announced_at, u.writer, u.writing_until, u.purpose"
)
OUTBOX: Final = "o.sequence, o.tenant_id, o.project_id, o.type, o.generation, o.data, o.created_at"
TAG: Final = "t.tenant_id, t.project_id, t.name, t.generation, t.commit_id, t.user_id, t.created_at, t.moved_at"
DAMAGE: Final = "d.object_key, d.reason, d.first_generation, d.found_at, d.seen_at"
JOB: Final = (
    "j.tenant_id, j.job_id, j.kind, j.params, j.user_id, j.project_id, j.rate, j.state, j.is_planned, j.plan_cursor, "
    "j.pending, j.done, j.skipped, j.failed, j.speed, j.rests_until, j.trouble_code, j.trouble_text, j.created_at, "
    "j.running_since, j.ended_at, j.revision"
)


def head(row: Sequence[Any]) -> Head:
    *fields, committed_at, gc_epoch, is_damaged = row
    return Head(*[*fields, utc_or_none(committed_at), gc_epoch, is_damaged])


def project(row: Row) -> ProjectRow:
    tenant, project_id, owner, name, *rest = row
    tree_bytes, tree_files, created_at, updated_at, revision, sealed, plain = rest[HEAD_WIDTH:]
    return ProjectRow(
        tenant=tenant,
        project=project_id,
        owner=owner,
        name=name,
        head=head(rest[:HEAD_WIDTH]),
        tree_bytes=tree_bytes,
        tree_files=tree_files,
        created_at=utc(created_at),
        updated_at=utc(updated_at),
        encryption=Encryption.by_keys(sealed=sealed, plain=plain),
        revision=revision,
    )


def commit(row: Row) -> CommitRow:
    *fields, created_at, request, recorded_at = row
    return CommitRow(*[*fields, utc(created_at), request, utc(recorded_at)])


def checkpoint(row: Sequence[Any]) -> CheckpointRow:
    return CheckpointRow(*row)


def key(row: Row, tenant: TenantId, project_id: ProjectId) -> KeyRecord:
    dek, provider, key_name, key_version, ciphertext, epoch, created_at = row
    wrapped = WrappedKey(provider, key_name, key_version, ciphertext)
    return KeyRecord(tenant, project_id, dek, wrapped, utc(created_at), epoch)


def session(row: Sequence[Any]) -> SessionRow:
    tenant, user, session_id, project_id, base_generation, base_commit, *rest = row
    *draft, scope, created_at, expires_at, working_set, node, durable_at, gave_up_draft, scope_session = rest
    return SessionRow(
        tenant=tenant,
        user=user,
        session=session_id,
        project=project_id,
        base_generation=base_generation,
        base_commit=base_commit,
        draft=draft_ref(draft) if draft[0] is not None else None,
        scope=scope,
        created_at=utc(created_at),
        expires_at=utc(expires_at),
        working_set=working_set,
        node=node,
        durable_at=utc(durable_at),
        gave_up_draft=gave_up_draft,
        scope_session=scope_session,
    )


def draft_ref(row: Sequence[Any]) -> DraftRef:
    return DraftRef(*_with_utc(row))


def view(row: Row) -> SessionView:
    *fields, now = row
    return SessionView(session(fields[:SESSION_WIDTH]), head(fields[SESSION_WIDTH:]), utc(now))


def draft_params(draft: DraftRef | None) -> Mapping[str, Any]:
    return {
        "draft_generation": draft.generation if draft else None,
        "draft_commit": draft.commit if draft else None,
        "draft_parent": draft.parent if draft else None,
        "draft_dek": draft.dek if draft else None,
        "draft_bytes": draft.object_bytes if draft else None,
    }


def upload(row: Row) -> Upload:
    *fields, created_at, expires_at, stored_bytes, proof, commits = row
    return Upload(*[*fields, utc(created_at), utc(expires_at), stored_bytes, proof, tuple(commits)])


def resumable(row: Row) -> ResumableUpload:
    *fields, spare, created_at, expires_at, stage, announced_at, writer, writing_until, purpose = row
    times = utc(created_at), utc(expires_at)
    return ResumableUpload(
        *[*fields, tuple(spare), *times, stage, utc_or_none(announced_at), writer, utc_or_none(writing_until), purpose]
    )


def tag(row: Sequence[Any]) -> TagRow:
    *fields, created_at, moved_at = row
    return TagRow(*[*fields, utc(created_at), utc(moved_at)])


def damage(row: Row) -> DamageRow:
    *fields, found_at, seen_at = row
    return DamageRow(*[*fields, utc(found_at), utc(seen_at)])


def job(row: Row) -> JobRow:
    tenant, job_id, kind, params, user, project_id, rate, state, is_planned, cursor, *counts = row[:14]
    speed, rests_until, trouble_code, trouble_text, created_at, running_since, ended_at, revision = row[14:]
    pending, done, skipped, failed = counts
    return JobRow(
        tenant=tenant,
        job=job_id,
        kind=kind,
        params=params,
        user=user,
        project=project_id,
        rate=rate,
        state=JobState(state),
        is_planned=is_planned,
        cursor=cursor,
        pending=pending,
        done=done,
        skipped=skipped,
        failed=failed,
        speed=speed,
        rests_until=utc_or_none(rests_until),
        trouble_code=trouble_code,
        trouble_text=trouble_text,
        created_at=utc(created_at),
        running_since=utc(running_since),
        ended_at=utc_or_none(ended_at),
        revision=revision,
    )


def job_item(row: Row) -> JobItem:
    number, item, state, begun, code, text, rests_until, changed_at = row
    return JobItem(number, item, ItemState(state), begun, code, text, utc_or_none(rests_until), utc(changed_at))


def outbox(row: Row) -> OutboxRow:
    return OutboxRow(*_with_utc(row))


def event_stream(row: Row) -> EventStream:
    sink, tenant, project_id, sequence, waiting, oldest_at, refusals, retry_at, parked_at, error = row
    return EventStream(
        sink=sink,
        tenant=tenant,
        project=project_id,
        next_sequence=sequence,
        waiting=waiting,
        oldest_at=utc(oldest_at),
        refusals=refusals,
        retry_at=utc_or_none(retry_at),
        parked_at=utc_or_none(parked_at),
        error=error,
    )


def sink_state(row: Row) -> SinkState:
    sink, failures, since, ok_at, failed_at, retry_at, parked_at, error = row
    return SinkState(
        sink,
        failures,
        since=utc(since),
        ok_at=utc_or_none(ok_at),
        failed_at=utc_or_none(failed_at),
        retry_at=utc_or_none(retry_at),
        parked_at=utc_or_none(parked_at),
        error=error,
    )


def utc_or_none(moment: datetime | None) -> datetime | None:
    return None if moment is None else utc(moment)


def _with_utc(row: Sequence[Any]) -> list[Any]:
    """Return the columns, of which the last is a time."""
    return [*row[:-1], utc(row[-1])]


def utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)  # it comes in the time zone that the server's session happens to have
