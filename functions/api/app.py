"""The HTTP application: routes under ``/api/v1``, the state of the server, and a page for people.

Made for one ``Manifold``, by the host process or by a function; it starts and stops nothing itself.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import manifold_common
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from manifold_common.bootstrap import Manifold
from manifold_common.domain.api_address import DESCRIPTION
from manifold_common.errors import InvalidInput, ManifoldError, UnknownAddress
from starlette.exceptions import HTTPException

from functions.api.areas import OnDemand, load
from functions.api.caller import Api, PrincipalOf, local_principal
from functions.api.compressed import Compressed
from functions.api.conditions import NotModified
from functions.api.guard import Guard, HostRule
from functions.api.methods import EveryMethod, refused_method
from functions.api.openapi import describe
from functions.api.problem import problem, problem_of
from functions.api.request_body import RequestBodies
from functions.api.revalidation import Revalidation
from functions.api.traffic import Traffic
from functions.api.versions import Versions
from functions.api.watch import Watch

_NAMED_FAULTS = 20


def create_app(
    manifold: Manifold,
    *,
    principal_of: PrincipalOf = local_principal,
    hosts: HostRule | None = None,
    on_demand: bool = False,
    is_buffered: bool = False,
    traffic: Traffic | None = None,
) -> FastAPI:
    """Return the application.

    Args:
        principal_of: tells on whose behalf a request is made.
        hosts: which Host headers are this server's; see ``guard.local_hosts``. ``None``: not checked.
        traffic: what clients have under way, where a server counts connections in it too.
        on_demand: load each part of the application when the first request for it comes.
        is_buffered: the platform sends an answer as a whole, when it has ended.
    """
    settings = manifold.settings
    traffic = traffic or Traffic(settings)
    app = FastAPI(
        title="Manifold",
        version=manifold_common.__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.api = Api(
        manifold=manifold,
        bodies=RequestBodies(settings.server.max_upload_bytes, traffic, most=settings.server.max_requests),
        traffic=traffic,
        watch=Watch(lambda places: manifold.feed.with_news(places), manifold.context.nudge),
        job_watch=Watch(lambda seen: manifold.jobs.changed(seen), manifold.context.nudge),
        principal_of=principal_of,
        is_buffered=is_buffered,
    )
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    app.state.areas = set()
    app.add_exception_handler(HTTPException, _http_problem)
    app.add_exception_handler(RequestValidationError, _validation_problem)
    app.add_exception_handler(NotModified, _not_modified)
    # From the inside out. A HEAD asks which routes there are, so these are loaded before it does. Tags are given and
    # compared inside of compression, which adds to each what it has made of the answer and takes that off again: so
    # nothing here sees two tags of one version. The guard answers what any of them raises.
    app.add_middleware(EveryMethod)
    if on_demand:
        app.add_middleware(OnDemand)
    else:
        load(app)
    app.add_middleware(Revalidation)
    app.add_middleware(Compressed)
    public = settings.server.public_url
    app.add_middleware(
        Guard,
        hosts=hosts,
        public_origin=_origin(str(public)) if public else None,
        discreet=settings.projects.encrypt,
        patience_seconds=settings.server.patience_seconds,
        traffic=traffic,
    )
    app.add_middleware(Versions)
    return app


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


async def _http_problem(request: Request, error: Exception) -> Response:
    """Answer what the router or the framework refuses."""
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, ManifoldError):  # met while a body was read
        return problem_of(error.__cause__, request)
    if error.status_code == 405:
        return refused_method(request)
    hint = f"see {DESCRIPTION} for what there is"
    if error.status_code == 404:
        return problem_of(UnknownAddress("there is nothing at this address", hint=hint), request)
    return problem(
        error.status_code, InvalidInput.code, "the request's body cannot be read", hint=hint, headers=error.headers
    )


async def _not_modified(request: Request, found: Exception) -> Response:  # noqa: ARG001 - the shape of a handler
    assert isinstance(found, NotModified)
    return Response(status_code=304, headers=found.headers)


async def _validation_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = [
        {"where": ".".join(str(part) for part in fault["loc"]), "problem": fault["msg"].removeprefix("Value error, ")}
        for fault in error.errors()[:_NAMED_FAULTS]
    ]
    shown = "; ".join(f"{fault['where']}: {fault['problem']}" for fault in faults[:3])
    refused = InvalidInput(
        f"the request is not valid: {shown}", hint=f"see {DESCRIPTION} for the shape of requests", errors=faults
    )
    return problem_of(refused, request)


__all__ = ["create_app"]
