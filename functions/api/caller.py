"""Who asks, and with what the answer is made. Every route gets one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, cast, overload

from fastapi import Depends, Path, Request
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL, Principal
from manifold_common.domain.tag import Named
from manifold_common.ids import Generation, ProjectId
from manifold_common.shapes.projects import Project

from functions.api.request_body import RequestBodies
from functions.api.traffic import Room, Traffic
from functions.api.watch import EventWatch, JobWatch

PrincipalOf = Callable[[Request], Principal]


def local_principal(request: Request) -> Principal:  # noqa: ARG001 - the shape of a principal provider
    """Everyone is the local user, where there is no sign-in."""
    return LOCAL_PRINCIPAL


@dataclass(frozen=True, slots=True)
class Api:
    """What the application holds for its whole life."""

    manifold: Manifold
    bodies: RequestBodies
    traffic: Traffic
    watch: EventWatch
    job_watch: JobWatch
    principal_of: PrincipalOf
    is_buffered: bool
    """The platform sends an answer as a whole, when it has ended."""

    @property
    def room(self) -> Room:
        return self.traffic.room


@dataclass(frozen=True, slots=True)
class Call:
    """One request: who asks, and the services."""

    api: Api
    principal: Principal

    @property
    def manifold(self) -> Manifold:
        return self.api.manifold

    def project(self, name_or_id: str) -> Project:
        """Return the caller's project of that id, or else of that name. Raises NotFound."""
        return self.manifold.projects.resolve(self.principal, name_or_id)

    @overload
    def generation(self, project: ProjectId, named: Named) -> Generation: ...
    @overload
    def generation(self, project: ProjectId, named: Named | None) -> Generation | None: ...
    def generation(self, project: ProjectId, named: Named | None) -> Generation | None:
        """Return the generation that a request names. Raises NotFound: no such tag."""
        return self.manifold.tags.resolve(self.principal, project, named)

    def project_id(self, name_or_id: str) -> ProjectId:
        """Raises NotFound."""
        return self.project(name_or_id).id


async def _call(request: Request) -> Call:
    api = cast(Api, request.app.state.api)
    return Call(api, api.principal_of(request))


Caller = Annotated[Call, Depends(_call)]
JobRef = Annotated[str, Path(description="Id of a job.", examples=["k5q2m7w3x4y5z6a7b2c3d4e5f4"])]
ProjectRef = Annotated[str, Path(description="Name or id of a project.", examples=["demo"])]
