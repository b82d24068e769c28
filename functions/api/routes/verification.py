"""Whether a project is whole, and what of it is known to be damaged."""

from __future__ import annotations

import msgspec
from fastapi import Request, Response
from manifold_common.domain.api_address import API
from manifold_common.errors import InvalidInput
from manifold_common.shapes.cursors import Content, Cursors
from manifold_common.shapes.jobs import Job
from manifold_common.shapes.verification import DamagePage, Verify, VerifyReport

from functions.api.caller import Caller, ProjectRef
from functions.api.paging import DEFAULT_PAGE, After, Limit, page_of
from functions.api.prefer import RESPOND_ASYNC, accepted, prefers_async
from functions.api.problem import responses
from functions.api.shaped import Router, also

router = Router(prefix=f"{API}/projects/{{project}}", tags=["projects"])

_CURSORS = Cursors("damage", msgspec.msgpack.Decoder(Content[str]))


@router.post(
    "/verify",
    responses={
        **also(202, Job, "With `Prefer: respond-async`: the job that does it has begun, or goes on."),
        **responses(404),
    },
)
def verify_project(
    request: Request, caller: Caller, project: ProjectRef, body: Verify | None = None
) -> VerifyReport | Response:
    """Look whether all that a project refers to is there and is what was written. Without `repair`, nothing is changed.

    What is damaged is told, and is no error. With `Prefer: respond-async` a job does it, which a large project needs,
    and a repair.
    """
    known, wanted, manifold = caller.project_id(project), body or Verify(), caller.manifold
    if prefers_async(request.headers):
        params = {"project": known, **msgspec.to_builtins(wanted)}
        return accepted(manifold.jobs.start(caller.principal, "verify", params).job)
    if wanted.repair:
        raise InvalidInput(
            "a repair is done by a job, and this request would wait for it",
            hint=f"send the header 'Prefer: {RESPOND_ASYNC}' with it",
            field="repair",
        )
    return manifold.verify.run(caller.principal, known, read_data=wanted.read_data, sample=wanted.sample)


@router.get("/damage", responses=responses(404))
def list_damage(caller: Caller, project: ProjectRef, limit: Limit = DEFAULT_PAGE, cursor: After = None) -> DamagePage:
    """List what verifications have found damaged, by name, and none has found whole since."""
    known, verify = caller.project_id(project), caller.manifold.verify
    list_of = (caller.principal, known)
    after = _CURSORS.read(cursor, *list_of)
    found = verify.damage(caller.principal, known, after=after or "", limit=limit + 1)
    items, more = page_of(found, limit)
    return DamagePage(
        items=items,
        full=verify.is_full(caller.principal, known),
        next_cursor=_CURSORS.write(items[-1].object, *list_of) if more else None,
    )
