"""Verification as a job: an item is a project, or one stretch of the history of one that is long, or a piece of the
content of one that is large. So an item is what can be read in some minutes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from manifold_common.domain.job import ItemState
from manifold_common.errors import CorruptObject, InvalidInput, NotFound
from manifold_common.ids import Generation, TenantProject, parse_project_id, parse_tenant_id
from manifold_common.ports.catalog import ProjectRow
from manifold_common.ports.catalog.projects import Projects
from manifold_common.services.jobs.kind import Plan, Work
from manifold_common.services.verification.look import Look
from manifold_common.services.verification.verify import Verify
from manifold_common.shapes.verification import VerifyReport

STRETCH_GENERATIONS = 2000
PIECE_BYTES = 8 << 30
"""Of files of the newest generation, times the share that is read."""
_MOST_PIECES = 512
_PAGE = 100
"""Projects, each of which may be many items."""
_NAMED = 5
"""Of the damaged objects, in the text of an item."""


class VerifyJob:
    """Implements JobKind."""

    at_once = 5

    def __init__(self, projects: Projects, verify: Verify, sample: float, only: TenantProject | None) -> None:
        """
        Args:
            sample: percentage of the objects whose content is read.
        """
        self._projects = projects
        self._verify = verify
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
        for first in range(1, max(2, row.head.generation + 1), STRETCH_GENERATIONS):
            for piece in range(1, pieces + 1):
                yield f"{row.tenant}/{row.project}/{first}" + (f"/{piece}-of-{pieces}" if pieces > 1 else "")

    def _work(self, item: str) -> ItemState:
        (tenant, project), look = self._look_of(item)
        try:
            report = self._verify.look(tenant, project, look)
        except NotFound:
            return ItemState.SKIPPED  # deleted meanwhile
        if not report.ok:
            raise _damaged(report)
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
        last = Generation(after + STRETCH_GENERATIONS)
        return owner, Look(self._sample, Generation(after), last, piece - 1, pieces)


def _project_of(item: str) -> TenantProject:
    """Raises InvalidInput."""
    tenant, _, rest = item.partition("/")
    return parse_tenant_id(tenant), parse_project_id(rest.partition("/")[0])


def _no_item() -> InvalidInput:
    return InvalidInput("the item is not the name of a project and of a part of it")


def _damaged(report: VerifyReport) -> CorruptObject:
    """Return the error for an item: names of objects say nothing of content, and paths are left out."""
    first, *others = dict.fromkeys(problem.object for problem in report.problems)
    reason = next(problem.reason for problem in report.problems if problem.object == first)
    if report.damaged > 1:
        named = ", ".join(others[: _NAMED - 1])
        more = report.damaged - 1 - len(others[: _NAMED - 1])
        reason += f"; so are {report.damaged - 1} more: {named}{f' and {more} others' if more else ''}"
    return CorruptObject(
        first,
        reason,
        hint=f"'manifold damage {report.project}' lists what is damaged; 'manifold verify {report.project} --repair' "
        "brings back what it can, and a backup the rest",
    )
