"""What is done with requests of the data plane, whoever serves them."""

from __future__ import annotations

from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import Principal
from manifold_common.domain.history import Point, Seen, point_of
from manifold_common.domain.named_request import NamedRequest
from manifold_common.errors import ManifoldError
from manifold_common.ids import Generation, ProjectId, SessionId
from manifold_common.services.direct.plans import Wanted
from manifold_common.services.sessions.commit import CommitRequest, Committed

from functions.data_plane.shapes import (
    ProjectPlanIn,
    PublishedOut,
    PublishIn,
    SessionPlanIn,
    SessionPlanOut,
    VerifiedOut,
    VerifyIn,
    session_plan_out,
)
from functions.invocation.size import MAX_ANSWER_BYTES, written_bytes
from functions.shapes.base import seen_of
from functions.shapes.sessions import SavedOut, committed_out, saved_out


def wanted_by(body: ProjectPlanIn) -> Wanted:
    return Wanted(tuple(body.paths), seen_of(body.known_generation), body.first, body.content)


def plan_session(
    manifold: Manifold, principal: Principal, session: SessionId | None, body: SessionPlanIn
) -> SessionPlanOut:
    """Return a plan for a session, which is opened if need be. Raises as ``SessionPlans.plan``."""
    project: ProjectId | None = None
    if body.project is not None:
        project = manifold.projects.resolve(principal, body.project).project
    return session_plan_out(
        manifold.session_plans.plan(
            principal,
            session,
            project,
            generation=generation_of(body.generation),
            patterns=tuple(body.paths),
            wanted=wanted_by(body),
            restore=body.restore,
            seen_generation=seen_of(body.seen_generation),
            drop_lost_draft=body.drop_lost_draft,
        )
    )


def verify_uploads(manifold: Manifold, principal: Principal, session: SessionId, body: VerifyIn) -> VerifiedOut:
    """Raises as ``Uploads.check``."""
    return VerifiedOut(checked=manifold.uploads.check(principal, session, body.draft.receipt(), body.receipts()))


def publish_uploads(
    manifold: Manifold,
    principal: Principal,
    session: SessionId,
    body: PublishIn,
    *,
    expected: Seen | None,
    request: NamedRequest | None,
) -> tuple[PublishedOut, Committed]:
    """Return the answer, and what it was made of. Raises as ``Uploads.publish``."""
    wanted = CommitRequest(body.message, body.provenance, body.strategy, expected, request)
    done = manifold.uploads.publish(principal, session, body.draft.receipt(), body.receipts(), wanted)
    answer = PublishedOut(**dict(committed_out(done)), plan=_plan_of(manifold, principal, session, body, done))
    if answer.plan is not None and written_bytes(answer.model_dump_json()) > MAX_ANSWER_BYTES:
        answer.plan = None  # what is done is not to be answered by a refusal
    return answer, done


def _plan_of(
    manifold: Manifold, principal: Principal, session: SessionId, body: PublishIn, done: Committed
) -> SessionPlanOut | None:
    """Return what the client needs to go on from its commit, which is made and stays made, whatever becomes of this."""
    base = seen_of(body.known_generation)
    if base is None:
        return None
    moved = done.rebased or done.commit is None or done.generation != point_of(base).generation + 1
    known = base if moved else Point(done.generation, done.commit)
    try:
        return session_plan_out(
            manifold.session_plans.plan(
                principal, session, generation=done.generation, wanted=Wanted((), known, content=moved)
            )
        )
    except ManifoldError:
        return None


def keep_uploads(manifold: Manifold, principal: Principal, session: SessionId, body: VerifyIn) -> SavedOut:
    """Raises as ``Uploads.save``."""
    return saved_out(manifold.uploads.save(principal, session, body.draft.receipt(), body.receipts()))


def generation_of(number: int | None) -> Generation | None:
    return None if number is None else Generation(number)
