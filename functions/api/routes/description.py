"""The description of the API (OpenAPI)."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from manifold_common.domain.api_address import DESCRIPTION

from functions.api.strict_route import StrictRoute

router = APIRouter(include_in_schema=False, route_class=StrictRoute)


@router.get(DESCRIPTION)
def describe(request: Request) -> JSONResponse:
    return JSONResponse(request.app.openapi())
