"""Is everything there, and is it what was written? Reads the store itself, past the cache, and changes no object.

Every commit object is opened, held against its catalog row and against its parent's hash; every checkpoint against the
tree that the commits fold to; every tag against the commit of its generation; every key record against the catalog;
every object that any generation refers to must exist and be long enough. So is every session's saved work. Of a sample
of the objects, or of all, the content is read from its header to its end too, and every chunk's bytes are held against
its id. A damaged object does not stop the rest from being looked at.

What is found is kept in the catalog, until a verification finds it whole: an object that is known to be damaged is read
by each. Several may look at a project at the same time, and each may be cut off: then it has found nothing.
"""

from __future__ import annotations

import logging
from contextlib import suppress

from manifold_common.domain.access import Principal
from manifold_common.domain.arguments import checked_count
from manifold_common.errors import InvalidInput, NotAdopted
from manifold_common.ids import Generation, ProjectId, TenantId
from manifold_common.ports.catalog import MAX_DAMAGED, DamageRow
from manifold_common.services.context import Context
from manifold_common.services.projects.projects import Projects
from manifold_common.services.verification.look import Look, Progress
from manifold_common.services.verification.verification import Verification
from manifold_common.shapes.verification import DamagedObject, VerifyReport

_log = logging.getLogger(__name__)

_TRIES = 3
"""Of a verification that finds damage while garbage is collected."""


class Verify:
    def __init__(self, context: Context, projects: Projects) -> None:
        self._context = context
        self._projects = projects

    def run(
        self,
        principal: Principal,
        project: ProjectId,
        *,
        read_data: bool = False,
        sample: float | None = None,
        progress: Progress | None = None,
        logs: bool = True,
    ) -> VerifyReport:
        """Look at everything a project refers to. Damage is reported, not raised.

        Args:
            sample: percentage of the objects whose content is read; ``read_data``: of all.
            logs: damage is a line of the log, too. Not for whoever reads the log and the report at the same place.

        Raises:
            InvalidInput: the percentage is none, or stands beside ``read_data``. NotFound. Unavailable.
        """
        look = Look(sample=percentage(read_data=read_data, sample=sample))
        found = self._projects.get(principal, project)
        return self._run(principal.tenant, found.id, found.generation, look, progress, logs=logs)[1]

    def look(self, tenant: TenantId, project: ProjectId, look: Look) -> VerifyReport:
        """As ``run``, of a stretch, for whoever works through all projects."""
        return self.examine(tenant, project, look)[1]

    def examine(
        self, tenant: TenantId, project: ProjectId, look: Look, progress: Progress | None = None, *, logs: bool = True
    ) -> tuple[Verification, VerifyReport]:
        """As ``look``, for whoever has to know more of what was seen. Args: ``logs``: as for ``run``."""
        head = self._context.catalog.get_project(tenant, project).head.generation
        return self._run(tenant, project, head, look, progress, logs=logs)

    def damage(
        self, principal: Principal, project: ProjectId, *, after: str = "", limit: int = MAX_DAMAGED
    ) -> list[DamagedObject]:
        """Return what is known to be damaged, by name, what comes after ``after``. Raises NotFound."""
        self._projects.get(principal, project)
        limit = max(1, checked_count(limit, "limit"))
        rows = self._context.catalog.damaged_objects(principal.tenant, project, after=after, limit=limit)
        return list(map(_told, rows))

    def is_full(self, principal: Principal, project: ProjectId) -> bool:
        """Tell whether as much damage is known of a project as is kept, so that there may be more. Raises NotFound."""
        self._projects.get(principal, project)
        return len(self._context.catalog.damaged_objects(principal.tenant, project)) >= MAX_DAMAGED

    def _run(
        self,
        tenant: TenantId,
        project: ProjectId,
        head: Generation,
        look: Look,
        progress: Progress | None,
        *,
        logs: bool,
    ) -> tuple[Verification, VerifyReport]:
        for _ in range(_TRIES):
            epoch = self._context.catalog.head(tenant, project).gc_epoch
            verification = Verification(self._context, tenant, project, head, look, progress, epoch)
            report = verification.run()
            # What was collected since it began may have been looked for in vain.
            if report.ok or epoch == self._context.catalog.head(tenant, project).gc_epoch:
                break
        if logs:
            _log_damage(verification, report)
        self._note(verification, report)
        return verification, report

    def _note(self, verification: Verification, report: VerifyReport) -> None:
        found, sound = verification.found(), verification.sound()
        if found or sound:
            with suppress(NotAdopted):  # a copy may be looked at, too
                self._context.catalog.note_damage(verification.tenant, report.project, found, sound)


def _log_damage(verification: Verification, report: VerifyReport) -> None:
    for one in verification.found():
        _log.error("damaged object %s of project %s: %s", one.object, report.project, one.reason)
    for row in verification.sound():
        _log.info("object %s of project %s is not damaged any more", row.object, report.project)


def percentage(*, read_data: bool, sample: float | None, field: str = "sample") -> float:
    """Return the percentage of the objects whose content is to be read. Raises InvalidInput."""
    if sample is None:
        return 100.0 if read_data else 0.0
    if read_data:
        raise InvalidInput("read_data reads all content, and a sample less", hint="give one of them", field=field)
    if not 0 < sample <= 100:
        raise InvalidInput(f"a sample of {sample} percent is none", hint="over 0, and 100 at most", field=field)
    return float(sample)


def _told(row: DamageRow) -> DamagedObject:
    return DamagedObject(
        object=row.object,
        reason=row.reason,
        first_generation=row.first_generation,
        found_at=row.found_at,
        seen_at=row.seen_at,
    )
