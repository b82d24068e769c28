"""How much may be open at once of what arrives or is made in parts, and for how long it is kept; and how it begins."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import msgspec

from manifold_common.domain.access import Principal
from manifold_common.errors import QuotaExceeded
from manifold_common.ids import ProjectId, parse_upload_id
from manifold_common.ports.catalog import Purpose, ResumableUpload
from manifold_common.services.context import Context
from manifold_common.services.resumable.records import Progress, Records

DOUBT = timedelta(days=1)
"""How long after it was begun a commit may still come to be published. An upload is kept for longer anyway."""


@dataclass(frozen=True, slots=True)
class KeptRules:
    """Choices an operator makes."""

    kept: timedelta = timedelta(days=7)
    """After the last part."""
    per_project: int = 100
    per_tenant: int = 1000

    def __post_init__(self) -> None:
        assert self.kept >= DOUBT

    def begin(
        self,
        context: Context,
        principal: Principal,
        project: ProjectId,
        about: msgspec.Struct,
        *,
        total_bytes: int | None = None,
        purpose: Purpose = "file",
    ) -> ResumableUpload:
        """Note something of which nothing has arrived or is made yet. Args: ``about``: what it is to be.

        Raises:
            QuotaExceeded: there is no room for it. NotFound: no such project.
        """
        self._require_room(context, principal, project, total_bytes or 0)
        upload, now = parse_upload_id(context.new_id()), context.clock.now()
        records = Records(context, principal.tenant, project, upload)
        with context.keys.writing(principal.tenant, project):
            row = ResumableUpload(
                tenant=principal.tenant,
                project=project,
                upload=upload,
                user=principal.user,
                dek=records.dek,
                about=records.seal_about(about),
                progress=records.seal_progress(Progress(total_bytes=total_bytes)),
                received_bytes=0,
                total_bytes=total_bytes,
                spare=(),
                created_at=now,
                expires_at=now + self.kept,
                purpose=purpose,
            )
            context.catalog.add_resumable(row)
        return row

    def _require_room(self, context: Context, principal: Principal, project: ProjectId, size: int) -> None:
        """Raises QuotaExceeded: too many are open for another one, or too much together with ``size`` bytes."""
        held = context.catalog.held_resumable(principal.tenant, project, context.clock.now())
        for count, most, whose in (
            (held.project_uploads, self.per_project, "the project"),
            (held.tenant_uploads, self.per_tenant, "the tenant"),
        ):
            if count >= most:
                raise QuotaExceeded(
                    f"{whose} has {count} resumable uploads and kept requests open, which is the limit",
                    hint="complete uploads, or end them with DELETE; requests that jobs work on end with these",
                    limit=most,
                )
        context.policy.limits.check_project(held.project_bytes + size, 0)
