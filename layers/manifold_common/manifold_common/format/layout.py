"""Where a project's objects stand in the store (docs/format-v1.md, "Object keys")."""

from __future__ import annotations

from manifold_common.ids import GENERATION_DIGITS, CommitId, DekId, Generation, ObjectId, ProjectId, TenantId

TENANTS = "t"
"""The folder below which each tenant has one of its own."""
_PROJECT_PARTS = 4


def tenant_prefix(tenant: TenantId) -> str:
    return f"{TENANTS}/{tenant}"


def project_prefix(tenant: TenantId, project: ProjectId) -> str:
    return f"{TENANTS}/{tenant}/p/{project}"


def below_project(key: str) -> str:
    """Return the part of an object's key that is below its project's folder."""
    return key.split("/", _PROJECT_PARTS)[_PROJECT_PARTS]


def quarantine_key(key: str, digest: str) -> str:
    """Return where bytes that stood under ``key`` are put aside: in the tenant's folder, beside its projects."""
    tenants, tenant, rest = key.split("/", 2)
    return f"{tenants}/{tenant}/quarantine/{rest}-{digest}"


def pack_key(tenant: TenantId, project: ProjectId, pack: ObjectId) -> str:
    return f"{project_prefix(tenant, project)}/packs/{pack}"


def commit_key(tenant: TenantId, project: ProjectId, generation: Generation, commit: CommitId) -> str:
    return f"{project_prefix(tenant, project)}/commits/{generation:0{GENERATION_DIGITS}d}-{commit}"


def checkpoint_key(tenant: TenantId, project: ProjectId, generation: Generation, name: str) -> str:
    return f"{project_prefix(tenant, project)}/checkpoints/{generation:0{GENERATION_DIGITS}d}-{name}"


def checkpoint_name(commit: str, object_id: ObjectId | None) -> str:
    """Return what a checkpoint is called beside its generation. ``None``: it is of before the object id was a part."""
    return commit if object_id is None else f"{commit}-{object_id}"


def wrapped_key_key(tenant: TenantId, project: ProjectId, dek: DekId) -> str:
    return f"{project_prefix(tenant, project)}/keys/{dek}"


def note_key(tenant: TenantId, project: ProjectId, subject: str) -> str:
    """The name a sealed catalog field is bound to; no object of that name is stored."""
    return f"{project_prefix(tenant, project)}/notes/{subject}"
