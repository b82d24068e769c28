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
from manifold_common.domain.history import Version
from manifold_common.domain.project_name import check_project_name
from manifold_common.domain.tree import Changes, totals
from manifold_common.engine.pack_writer import NewContent
from manifold_common.engine.tree_log import Snapshot, empty_snapshot
from manifold_common.ids import Generation, ProjectId
from manifold_common.ports.catalog import Publication
from manifold_common.services.commit_point import CommitPoint, PendingCommit
from manifold_common.services.context import Context
from manifold_common.services.projects.history import History
from manifold_common.services.projects.projects import Projects
from manifold_common.services.renewal import redone
from manifold_common.shapes.intent import Intent
from manifold_common.shapes.projects import Project


class Forks:
    def __init__(self, context: Context, projects: Projects, history: History) -> None:
        self._context = context
        self._projects = projects
        self._history = history
        self._commit_point = CommitPoint(context)

    def fork(
        self,
        principal: Principal,
        source: ProjectId,
        name: str,
        generation: Generation | None = None,
        expected: Version | None = None,
    ) -> Project:
        """Make a project ``name`` whose generation 1 is the source's ``generation`` (``None``: its head).

        Raises:
            NotFound: no such project or generation. AlreadyExists, InvalidInput: the name. QuotaExceeded.
            GenerationMismatch, PreconditionFailed: the source is in another state than ``expected``.
        """
        check_project_name(name)
        return redone(lambda: self._fork(principal, source, name, generation, expected))

    def _fork(
        self,
        principal: Principal,
        source: ProjectId,
        name: str,
        generation: Generation | None,
        expected: Version | None,
    ) -> Project:
        context = self._context
        snapshot = self._history.snapshot(principal, source, generation)
        project = ProjectId(context.new_id())
        adopted = [context.keys.adopt(record, project) for record in context.keys.records(principal.tenant, source)]
        own = context.keys.make_next(context.keys.of(principal.tenant, source), project)
        keys = [key for key in adopted if key.dek != own.dek] + [own]
        fork_of = (source, snapshot.head.generation)
        if not snapshot.tree:
            return self._projects.register(principal, project, name, keys, fork_of=fork_of, source=expected)
        with context.keys.introduced(keys):
            first = self._first_commit(principal, project, source, snapshot)
        return self._projects.register(principal, project, name, keys, fork_of=fork_of, source=expected, first=first)

    def _first_commit(
        self, principal: Principal, project: ProjectId, source: ProjectId, snapshot: Snapshot
    ) -> Publication:
        """Store the commit that holds the whole tree of ``snapshot``. Raises QuotaExceeded."""
        self._context.policy.limits.check_project(*totals(snapshot.tree))
        generation = snapshot.head.generation
        # The fork's history goes on from the source's, and so does its time.
        empty = empty_snapshot(principal.tenant, project)
        forked = snapshot.head
        base = replace(empty, head=empty.head._replace(committed_at=forked.committed_at, gc_epoch=forked.gc_epoch))
        changes = Changes(dict(snapshot.tree), set())
        intent = Intent(
            f"fork of generation {generation}", {"forked_from": {"project": source, "generation": generation}}
        )
        nothing_new = NewContent({}, {}, [])
        pending = PendingCommit(base, changes, nothing_new, snapshot.places, principal.user, intent=intent)
        stored = self._commit_point.store(pending, base, changes)
        return self._commit_point.publication(pending, base, changes, stored)
