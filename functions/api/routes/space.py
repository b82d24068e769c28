"""Space: how long history is kept, what is garbage, and what projects take."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import Request, Response
from manifold_common.domain.api_address import API
from manifold_common.domain.project_name import MAX_NAME_BYTES
from manifold_common.shapes.cursors import Content, Cursors
from manifold_common.shapes.garbage import CollectionPlan, ProjectRetention, SetRetention
from manifold_common.shapes.usage import ProjectUsage, UsagePage
from msgspec import Meta

from functions.api.caller import Caller, ProjectRef
from functions.api.conditions import check_read, check_retention
from functions.api.paging import DEFAULT_PAGE, After, Limit, page_of
from functions.api.problem import responses
from functions.api.shaped import Router
from functions.api.validators import of_retention

router = Router(prefix=API, tags=["space"])

_CURSORS = Cursors(
    "usage",
    msgspec.msgpack.Decoder(Content[Annotated[str, Meta(max_length=MAX_NAME_BYTES, pattern=r"\A[^\x00]+\Z")]]),
)


@router.get("/projects/{project}/retention", responses=responses(404))
def get_retention(request: Request, response: Response, caller: Caller, project: ProjectRef) -> ProjectRetention:
    """Say how long a project's history is kept, and what that comes to now."""
    found = caller.manifold.retention_settings.get(caller.principal, caller.project_id(project))
    check_read(request.headers, of_retention(found), response.headers)
    return found


@router.put("/projects/{project}/retention", responses=responses(404, 409, 412))
def set_retention(
    request: Request, response: Response, caller: Caller, project: ProjectRef, body: SetRetention
) -> ProjectRetention:
    """Say how long a project's history is kept. What nothing keeps then is removed by the next collection, for good.

    What the body leaves out is as the deployment says: an empty one takes the project's own rules back.
    """
    known, settings = caller.project(project), caller.manifold.retention_settings
    expected = check_retention(request.headers, known, lambda: of_retention(settings.get(caller.principal, known.id)))
    done = settings.set(caller.principal, known.id, body.generations, body.days, expected=expected)
    response.headers["ETag"] = of_retention(done).etag
    return done


@router.get("/projects/{project}/garbage", responses=responses(404))
def get_garbage(caller: Caller, project: ProjectRef) -> CollectionPlan:
    """Say what a collection of a project and its forks would remove now, and why. Nothing is changed.

    All that they have stored is listed, and every kept commit is read. A job of the kind `collect` does it.
    """
    manifold, tenant = caller.manifold, caller.principal.tenant
    leader = manifold.context.catalog.family_of(tenant, caller.project_id(project))
    return manifold.collector.plan(tenant, leader)


@router.get("/projects/{project}/usage", responses=responses(404))
def get_usage(caller: Caller, project: ProjectRef) -> ProjectUsage:
    """Say what a project takes: in the store, as it was measured, and on the server's machine."""
    return caller.manifold.usage.of(caller.principal, caller.project_id(project))


@router.get("/usage", responses=responses())
def list_usage(caller: Caller, limit: Limit = DEFAULT_PAGE, cursor: After = None) -> UsagePage:
    """Say what each of the caller's projects takes, by name, and what all together do."""
    usage, principal = caller.manifold.usage, caller.principal
    after = _CURSORS.read(cursor, principal)
    items, more = page_of(usage.page(principal, after_name=after or "", limit=limit + 1), limit)
    return UsagePage(
        items=items,
        next_cursor=_CURSORS.write(items[-1].name, principal) if more else None,
        user=usage.of_user(principal),
        tenant=usage.of_tenant(principal),
        machine=usage.of_machine(principal),
    )
