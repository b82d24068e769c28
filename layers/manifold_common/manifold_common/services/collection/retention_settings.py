"""How long a project's history is kept, as its owner sees and sets it."""

from __future__ import annotations

from manifold_common.domain.access import Principal
from manifold_common.domain.arguments import checked_count
from manifold_common.domain.event import PROJECT_RETENTION, project_event
from manifold_common.domain.history import Version
from manifold_common.errors import InvalidInput
from manifold_common.ids import Generation, ProjectId, SessionId, TagName
from manifold_common.ports.catalog import OutboxEvent
from manifold_common.ports.catalog import Retention as Own
from manifold_common.services.collection.retention import Retention
from manifold_common.services.context import Context
from manifold_common.services.projects.projects import Projects
from manifold_common.shapes.garbage import (
    MAX_KEPT_DAYS,
    MAX_KEPT_GENERATIONS,
    PinnedGeneration,
    ProjectRetention,
    RetentionRules,
)


class RetentionSettings:
    def __init__(self, context: Context, projects: Projects, retention: Retention) -> None:
        self._context = context
        self._projects = projects
        self._retention = retention

    def get(self, principal: Principal, project: ProjectId) -> ProjectRetention:
        """Say how long history is kept, and what that comes to now. Raises NotFound."""
        self._projects.get(principal, project)
        holdings = self._context.catalog.holdings(principal.tenant, project)
        rules = self._retention.rules_of(holdings)
        due, held = self._retention.due(holdings), self._retention.held(holdings)
        return ProjectRetention(
            project=project,
            generations=holdings.retention.generations,
            days=holdings.retention.days,
            in_force=RetentionRules(
                generations=rules.generations,
                days=rules.days,
                grace_seconds=max(0, round(rules.grace.total_seconds())),
            ),
            kept=len(holdings.commits),
            oldest=holdings.commits[0].generation if holdings.commits else None,
            due=len(due),
            first_due=due[0] if due else None,
            last_due=due[-1] if due else None,
            pinned=self._pinned(principal, project, held) if held else [],
        )

    def set(
        self,
        principal: Principal,
        project: ProjectId,
        generations: int | None = None,
        days: int | None = None,
        *,
        expected: Version | None = None,
    ) -> ProjectRetention:
        """Say how long history is kept. What no rule keeps then is removed by the next collection.

        Args:
            generations: so many of the newest stay; 0 sets no number. ``None``: as the deployment says.
            days: those that are younger stay; 0 sets no age. ``None``: as the deployment says.
            expected: only if the project is in this state.

        Raises:
            NotFound. InvalidInput: a number is too large, or none. GenerationMismatch, PreconditionFailed: the project
            is in another state than ``expected``.
        """
        own = Own(
            _checked(generations, "generations", MAX_KEPT_GENERATIONS),
            _checked(days, "days", MAX_KEPT_DAYS),
        )
        self._projects.get(principal, project)
        now = self._context.clock.now()
        said = project_event(
            principal.tenant, project, principal.user, now, keep_generations=own.generations, keep_days=own.days
        )
        event = OutboxEvent(PROJECT_RETENTION, said)
        if self._context.catalog.set_retention(principal.tenant, project, own, event, expected=expected):
            self._context.nudge.give()
        return self.get(principal, project)

    def _pinned(self, principal: Principal, project: ProjectId, held: list[Generation]) -> list[PinnedGeneration]:
        """Say what stands on generations that nothing else keeps."""
        catalog = self._context.catalog
        tags: dict[Generation, list[TagName]] = {}
        for tag in catalog.list_tags(principal.tenant, project):
            tags.setdefault(tag.generation, []).append(tag.name)
        sessions: dict[Generation, list[SessionId]] = {}
        for row in catalog.list_sessions(principal.tenant, principal.user, project):
            bases = {row.base_generation} | ({row.draft.base.generation} if row.draft is not None else set())
            for base in bases:
                sessions.setdefault(base, []).append(row.session)
        return [
            PinnedGeneration(generation=one, tags=tags.get(one, []), sessions=sessions.get(one, [])) for one in held
        ]


def _checked(value: int | None, name: str, most: int) -> int | None:
    """Raises InvalidInput."""
    if value is not None and checked_count(value, name) > most:
        raise InvalidInput(f"{name} {value} is too large", hint=f"use a number up to {most}", field=name)
    return value
