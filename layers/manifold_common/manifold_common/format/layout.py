"""Where a project's objects stand in the store (docs/format-v1.md, "Object keys")."""

from __future__ import annotations

from manifold_common.ids import GENERATION_DIGITS, CommitId, DekId, Generation, ObjectId, ProjectId, TenantId

TENANTS = "t"
"""The folder below which each tenant has one of its own."""


def project_prefix(tenant: TenantId, project: ProjectId) -> str:
    return f"{TENANTS}/{tenant}/p/{project}"


def pack_key(tenant: TenantId, project: ProjectId, pack: ObjectId) -> str:
    return f"{project_prefix(tenant, project)}/packs/{pack}"


def commit_key(tenant: TenantId, project: ProjectId, generation: Generation, commit: CommitId) -> str:
    return f"{project_prefix(tenant, project)}/commits/{generation:0{GENERATION_DIGITS}d}-{commit}"


def checkpoint_key(tenant: TenantId, project: ProjectId, generation: Generation, commit: CommitId) -> str:
    return f"{project_prefix(tenant, project)}/checkpoints/{generation:0{GENERATION_DIGITS}d}-{commit}"


def wrapped_key_key(tenant: TenantId, project: ProjectId, dek: DekId) -> str:
    return f"{project_prefix(tenant, project)}/keys/{dek}"


def note_key(tenant: TenantId, project: ProjectId, subject: str) -> str:
    """The name a sealed catalog field is bound to; no object of that name is stored."""
    return f"{project_prefix(tenant, project)}/notes/{subject}"
