"""What is done with requests of the data plane, whoever serves them."""

from __future__ import annotations

from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import Principal
from manifold_common.domain.history import Point, Seen, point_of
from manifold_common.domain.named_request import NamedRequest
from manifold_common.errors import ManifoldError
from manifold_common.ids import ProjectId, SessionId
from manifold_common.services.direct.plans import Wanted
from manifold_common.shapes.access import (
    PlanProject,
    PlanSession,
    Published,
    PublishUploads,
    SessionPlan,
    Verified,
    VerifyUploads,
)
from manifold_common.shapes.base import seen_of
from manifold_common.shapes.decode import plain
from manifold_common.shapes.requests import CheckoutRequest
from manifold_common.shapes.sessions import Committed, Saved
from msgspec import structs

from functions.invocation.generations import generation_for
from functions.invocation.size import MAX_ANSWER_BYTES, written_bytes


def wanted_by(body: PlanProject) -> Wanted:
    return Wanted(tuple(body.paths), seen_of(body.known_generation), body.first, body.content)


def plan_session(
    manifold: Manifold,
    principal: Principal,
    session: SessionId,
    project: ProjectId | None,
    body: PlanSession,
    *,
    only_new: bool = False,
) -> SessionPlan:
    """Return a plan for a session, which is opened on ``project`` if need be. Raises as ``SessionPlans.plan``."""
    return manifold.session_plans.plan(
        principal,
        session,
        project,
        body.request(generation_for(manifold, principal, session, project, body.generation), only_new=only_new),
        wanted=wanted_by(body),
        restore=body.restore,
    )


def verify_uploads(manifold: Manifold, principal: Principal, session: SessionId, body: VerifyUploads) -> Verified:
    """Raises as ``Uploads.check``."""
    return Verified(checked=manifold.uploads.check(principal, session, body.draft, body.packs))


def publish_uploads(
    manifold: Manifold,
    principal: Principal,
    session: SessionId,
    body: PublishUploads,
    *,
    expected: Seen | None,
    request: NamedRequest | None,
) -> Committed:
    """Raises as ``Uploads.publish``."""
    return manifold.uploads.publish(principal, session, body.draft, body.packs, body.intent(expected, request))


def with_plan(
    manifold: Manifold, principal: Principal, session: SessionId, body: PublishUploads, done: Committed
) -> Published:
    """Return what is answered to a publication, with the plan that was asked for if it can be had and fits."""
    answer = Published(**structs.asdict(done), plan=_plan_of(manifold, principal, session, body, done))
    if answer.plan is not None and written_bytes(plain(answer)) > MAX_ANSWER_BYTES:
        return structs.replace(answer, plan=None)  # what is done is not to be answered by a refusal
    return answer


def _plan_of(
    manifold: Manifold, principal: Principal, session: SessionId, body: PublishUploads, done: Committed
) -> SessionPlan | None:
    """Return what the client needs to go on from its commit, which is made and stays made, whatever becomes of this."""
    base = seen_of(body.known_generation)
    if base is None:
        return None
    moved = done.rebased or done.commit is None or done.generation != point_of(base).generation + 1
    known = base if moved else Point(done.generation, done.commit)
    at, wanted = CheckoutRequest(done.generation), Wanted((), known, content=moved)
    try:
        return manifold.session_plans.plan(principal, session, request=at, wanted=wanted)
    except ManifoldError:
        return None


def keep_uploads(manifold: Manifold, principal: Principal, session: SessionId, body: VerifyUploads) -> Saved:
    """Raises as ``Uploads.save``."""
    return manifold.uploads.save(principal, session, body.draft, body.packs)
