"""The commit point, and the history it leaves."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

from manifold_common.adapters.memory.catalog.state import State, no_session, require_at
from manifold_common.domain.listing import EVERY_COMMIT, CommitFilter
from manifold_common.errors import AlreadyExists
from manifold_common.ids import CommitId, Generation, ProjectId, RequestId, TenantId
from manifold_common.ports.catalog import CommitRow, Head, Publication, SessionRow


class Commits:
    state: State

    def publish_commit(self, publication: Publication) -> Head | None:
        return publish(self.state, publication)

    def head(self, tenant: TenantId, project: ProjectId) -> Head:
        with self.state.lock:
            return self.state.living(tenant, project).row.head

    def find_commit(self, tenant: TenantId, project: ProjectId, commit: CommitId) -> CommitRow | None:
        with self.state.lock:
            found = self.state.living_or_none(tenant, project)
            return found.by_id.get(commit) if found is not None else None

    def find_request(self, tenant: TenantId, project: ProjectId, request: RequestId) -> CommitRow | None:
        with self.state.lock:
            found = self.state.living_or_none(tenant, project)
            return found.by_request(request) if found is not None else None

    def commit_at(self, tenant: TenantId, project: ProjectId, generation: Generation) -> CommitRow:
        with self.state.lock:
            return self.state.living(tenant, project).at(generation)

    def list_commits(
        self,
        tenant: TenantId,
        project: ProjectId,
        *,
        wanted: CommitFilter = EVERY_COMMIT,
        before: Generation | None = None,
        limit: int = 100,
    ) -> list[CommitRow]:
        with self.state.lock:
            commits = self.state.living(tenant, project).commits
            found = (
                row
                for row in reversed(commits.values())
                if (before is None or row.generation < before)
                and wanted.takes(row.generation, row.author, row.session, row.created_at)
            )
            return list(islice(found, limit))


def publish(state: State, publication: Publication) -> Head | None:
    tenant, project, commit = publication.tenant, publication.project, publication.commit
    with state.lock:
        found = state.living(tenant, project)
        moved: SessionRow | None = None
        if publication.session_user is not None and commit.session is not None:
            moved = state.session(tenant, publication.session_user, commit.session)
            if moved.project != project:
                raise no_session(commit.session)
            require_at(moved, publication.working_set)
        head = found.row.head
        base = publication.base
        if (*head.point, head.gc_epoch) != (*base.point, base.gc_epoch):
            return None
        if commit.commit in found.by_id:
            raise AlreadyExists(f"commit {commit.commit} is published already")
        if commit.request is not None and found.by_request(commit.request) is not None:
            raise AlreadyExists(f"request {commit.request} has made a commit already")
        state.require_key(found, commit.dek)
        new_head = Head(
            commit.generation,
            commit.commit,
            commit.record_hash,
            commit.generation if publication.touches_skills else head.skills_generation,
            commit.created_at,
            head.gc_epoch,
            head.is_damaged,
        )
        commit = replace(commit, recorded_at=state.clock.now())
        found.commits[commit.generation] = commit
        found.by_id[commit.commit] = commit
        found.row = replace(
            found.row,
            head=new_head,
            tree_bytes=publication.tree_bytes,
            tree_files=publication.tree_files,
            updated_at=max(commit.created_at, found.row.updated_at),
        )
        if moved is not None:
            state.sessions[tenant, moved.user, moved.session] = replace(
                moved,
                base_generation=commit.generation,
                base_commit=commit.commit,
                draft=None,
                expires_at=max(moved.expires_at, state.clock.now() + publication.session_ttl),
                durable_at=state.clock.now(),
            )
        state.emit(tenant, project, new_head.generation, publication.event, commit.created_at)
        return new_head
