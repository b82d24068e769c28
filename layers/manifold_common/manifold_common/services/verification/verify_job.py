"""Verification as a job: an item is a project, or one stretch of the history of one that is long, or a piece of the
content of one that is large. So an item is what can be read in some minutes. A repair mends what the looks of its
items find."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from manifold_common.domain.job import ItemState
from manifold_common.domain.wording import plural
from manifold_common.errors import CorruptObject, InvalidInput, NotFound
from manifold_common.ids import Generation, ProjectId, TenantProject, parse_project_id, parse_tenant_id
from manifold_common.ports.catalog import ProjectRow
from manifold_common.ports.catalog.projects import Projects
from manifold_common.services.jobs.kind import Plan, Work
from manifold_common.services.verification.look import Look, stretches
from manifold_common.services.verification.repair import Repair
from manifold_common.services.verification.verify import Verify
from manifold_common.shapes.verification import Damage, RepairReport

PIECE_BYTES = 8 << 30
"""Of files of the newest generation, times the share that is read."""
_MOST_PIECES = 512
_PAGE = 100
"""Projects, each of which may be many items."""
_NAMED = 4
"""Of the objects of each sort, in the text of an item."""


class VerifyJob:
    """Implements JobKind."""

    at_once = 5
    is_open = False

    def __init__(
        self,
        projects: Projects,
        verify: Verify,
        sample: float,
        only: TenantProject | None,
        repair: Repair | None = None,
    ) -> None:
        """
        Args:
            sample: percentage of the objects whose content is read.
            repair: mends what is found; ``None``: it is only named.
        """
        self._projects = projects
        self._verify = verify
        self._repair = repair
        self._sample = sample
        self._only = only

    def plan(self, cursor: str | None) -> Plan:
        if self._only is not None:
            try:
                return Plan(list(self._items(self._projects.get_project(*self._only))), None)
            except NotFound:
                return Plan([], None)
        rows = self._projects.all_projects(after=None if cursor is None else _project_of(cursor), limit=_PAGE)
        items = [item for row in rows for item in self._items(row)]
        return Plan(items, f"{rows[-1].tenant}/{rows[-1].project}" if len(rows) == _PAGE else None)

    def begin(self, items: Sequence[str]) -> Work:  # noqa: ARG002 - they have nothing in common
        return self._work

    def _items(self, row: ProjectRow) -> Iterator[str]:
        pieces = min(_MOST_PIECES, 1 + int(row.tree_bytes * self._sample / 100) // PIECE_BYTES)
        for after in stretches(row.head.generation):
            for piece in range(1, pieces + 1):
                yield f"{row.tenant}/{row.project}/{after + 1}" + (f"/{piece}-of-{pieces}" if pieces > 1 else "")

    def _work(self, item: str) -> ItemState:
        (tenant, project), look = self._look_of(item)
        try:
            if self._repair is None:
                report = self._verify.look(tenant, project, look)
                if not report.ok:
                    raise _damaged(project, report.problems, report.damaged)
            else:
                done = self._repair.look(tenant, project, look)
                if not done.ok:
                    raise _damaged(project, done.left, done.damaged, done)
        except NotFound:
            return ItemState.SKIPPED  # deleted meanwhile
        return ItemState.DONE

    def _look_of(self, item: str) -> tuple[TenantProject, Look]:
        """Raises InvalidInput."""
        owner, parts = _project_of(item), item.split("/")[2:]
        try:
            (after,) = (int(part) - 1 for part in parts[:1])
            piece, pieces = map(int, parts[1].split("-of-")) if len(parts) > 1 else (1, 1)
        except ValueError:
            raise _no_item() from None
        if after < 0 or not 1 <= piece <= pieces <= _MOST_PIECES:
            raise _no_item()
        look = Look.stretch(Generation(after), sample=self._sample)
        return owner, replace(look, piece=piece - 1, pieces=pieces)


def _project_of(item: str) -> TenantProject:
    """Raises InvalidInput."""
    tenant, _, rest = item.partition("/")
    return parse_tenant_id(tenant), parse_project_id(rest.partition("/")[0])


def _no_item() -> InvalidInput:
    return InvalidInput("the item is not the name of a project and of a part of it")


def _damaged(
    project: ProjectId, problems: Sequence[Damage], count: int, repair: RepairReport | None = None
) -> CorruptObject:
    """Return the error for an item: names of objects say nothing of content, and paths are left out.

    Args:
        count: damaged objects, of which not all may be in ``problems``.
        repair: what was done about others.
    """
    first, *others = dict.fromkeys(problem.object for problem in problems)
    reason = next(problem.reason for problem in problems if problem.object == first)
    if count > 1:
        reason += f"; so are {count - 1:,} more: {_named(others, count - 1)}"
    lists = f"'manifold damage {project}' lists what is damaged"
    if repair is None:
        hint = f"{lists}; 'manifold verify {project} --repair' brings back what it can, and a backup the rest"
        return CorruptObject(first, reason, hint=hint)
    for names, became in (([one.object for one in repair.repaired], "repaired"), (repair.quarantined, "kept aside as")):
        if names:
            reason += f"; {became} {_named(names, len(names))}"
    if not repair.repaired:
        reason += "; nothing was repaired"
    hint = f"{lists}; 'manifold verify {project} --repair' on a machine that has worked with it, or a backup, may help"
    return CorruptObject(first, reason, hint=hint)


def _named(names: Sequence[str], count: int) -> str:
    """Return the first names of so many."""
    named = names[:_NAMED]
    more = count - len(named)
    return ", ".join(named) + (f" and {plural(more, 'other')}" if more else "")
