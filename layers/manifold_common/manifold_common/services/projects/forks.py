"""A new project from any generation of another, without copying its content.

The fork's first commit holds the whole tree; its chunks stay where they are, in the source's packs, which the fork
reads with the source's keys, wrapped anew for the fork. It writes under a key of its own, of a later epoch, and sealed
if the source is, whatever the deployment does with new projects. The catalog records the
fork, so that the source's objects are kept for as long as a fork refers to them, even after the source is deleted.
The fork and its first commit become visible in one transaction, after everything was stored: never an empty fork.
Both projects share the chunk-id key: this is the one case in which equal content has equal ids in two projects.
"""

from __future__ import annotations

from dataclasses import replace

from manifold_common.domain.access import Principal
from manifold_common.domain.event import PROJECT_COMMIT, commit_event
from manifold_common.domain.project_name import check_project_name
from manifold_common.domain.skill import touches_skills
from manifold_common.domain.tree import Changes, totals
from manifold_common.engine.commit_writer import Authorship
from manifold_common.engine.pack_writer import NewContent
from manifold_common.engine.tree_log import Snapshot, empty_snapshot
from manifold_common.ids import Generation, ProjectId
from manifold_common.ports.catalog import OutboxEvent, Publication
from manifold_common.services.context import Context
from manifold_common.services.projects.history import History
from manifold_common.services.projects.projects import Projects
from manifold_common.services.publish import PendingCommit, Publisher
from manifold_common.shapes.projects import Project


class Forks:
    def __init__(self, context: Context, projects: Projects, history: History, publisher: Publisher) -> None:
        self._context = context
        self._projects = projects
        self._history = history
        self._publisher = publisher

    def fork(self, principal: Principal, source: ProjectId, name: str, generation: Generation | None = None) -> Project:
        """Make a project ``name`` whose generation 1 is the source's ``generation`` (``None``: its head).

        Raises:
            NotFound: no such project or generation. AlreadyExists, InvalidInput: the name. QuotaExceeded.
        """
        check_project_name(name)
        context = self._context
        snapshot = self._history.snapshot(principal, source, generation)
        project = ProjectId(context.new_id())
        adopted = [context.keys.adopt(record, project) for record in context.keys.records(principal.tenant, source)]
        own = context.keys.make_next(context.keys.of(principal.tenant, source), project)
        keys = [key for key in adopted if key.dek != own.dek] + [own]
        fork_of = (source, snapshot.head.generation)
        if not snapshot.tree:
            return self._projects.register(principal, project, name, keys, fork_of=fork_of)
        with context.keys.introduced(keys):
            first = self._first_commit(principal, project, source, snapshot)
        return self._projects.register(principal, project, name, keys, fork_of=fork_of, first=first)

    def _first_commit(
        self, principal: Principal, project: ProjectId, source: ProjectId, snapshot: Snapshot
    ) -> Publication:
        """Store the commit that holds the whole tree of ``snapshot``. Raises QuotaExceeded."""
        context = self._context
        tree_bytes, tree_files = totals(snapshot.tree)
        context.policy.limits.check_project(tree_bytes, tree_files)
        generation = snapshot.head.generation
        # The fork's history goes on from the source's, and so does its time.
        empty = empty_snapshot(principal.tenant, project)
        base = replace(empty, head=empty.head._replace(committed_at=snapshot.head.committed_at))
        changes = Changes(dict(snapshot.tree), set())
        by = Authorship(
            principal.user,
            message=f"fork of generation {generation}",
            provenance={"forked_from": {"project": source, "generation": generation}},
        )
        row = self._publisher.store(PendingCommit(base, changes, NewContent({}, {}, []), snapshot.places, by)).row
        touches = touches_skills(changes.paths())
        event = commit_event(
            principal.tenant,
            project,
            principal.user,
            None,
            row.generation,
            row.generation if touches else base.head.skills_generation,
            row.commit,
            changes.paths(),
            row.created_at,
            listed_paths=context.policy.listed_paths_of(row),
        )
        return Publication(
            tenant=principal.tenant,
            project=project,
            base=base.head,
            commit=row,
            touches_skills=touches,
            tree_bytes=tree_bytes,
            tree_files=tree_files,
            event=OutboxEvent(PROJECT_COMMIT, event),
        )
