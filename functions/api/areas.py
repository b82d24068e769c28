"""The parts of the application, each loaded when the first request for it comes.

Building all routes takes longer than anything else that a function does before its first answer, and one request needs
one part. A host loads them all at its start.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

AREAS = {
    "functions.api.routes.projects": ("projects", "fork", "undelete"),
    "functions.api.routes.tree": ("tree",),
    "functions.api.routes.files": ("files", "read"),
    "functions.api.routes.resumable_uploads": ("resumable-uploads",),
    "functions.api.routes.archive": ("archive",),
    "functions.api.routes.changes": ("dirs", "move", "commits", "restore"),
    "functions.api.routes.history": ("commits", "diff"),
    "functions.api.routes.tags": ("tags",),
    "functions.api.routes.verification": ("verify", "damage"),
    "functions.api.routes.events": ("events",),
    "functions.api.routes.sessions": ("sessions", "checkout", "status", "save", "commit"),
    "functions.api.routes.jobs": ("jobs", "items", "pause", "resume", "cancel", "retry"),
    "functions.api.routes.job_results": ("result", "content"),
    "functions.api.routes.space": ("retention", "garbage", "usage"),
    "functions.api.routes.data_plane": ("plan", "uploads", "links", "verify", "publish", "keep"),
    "functions.api.routes.objects": ("objects",),
    "functions.api.routes.description": ("openapi.json",),
    "functions.api.routes.health": ("health", "livez", "readyz"),
    "functions.api.pages.status_page": ("", "static"),
}
"""The words that ``word_of`` finds in the paths of each part's routes."""


def word_of(path: str) -> str:
    """Return the word of a path that tells what it is about: in ``/api/v1/projects/<project>/tree/src``, ``tree``."""
    _, first, *rest = f"{path}/".split("/")
    if first != "api":
        return first
    if rest[0] == "v1":
        rest = rest[1:]
    return rest[2] if len(rest) > 2 and rest[2] and rest[0] != "objects" else rest[0] or first


class OnDemand:
    """An ASGI layer before the router: it has what a request is about loaded."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            word = word_of(scope["path"])
            load(scope["app"], (area for area, words in AREAS.items() if word in words))
        await self._app(scope, receive, send)


def load(app: FastAPI, areas: Iterable[str] = AREAS) -> None:
    """Add the routes of these parts to the application, if they are not there yet."""
    loaded: set[str] = app.state.areas
    for area in areas:
        if area not in loaded:
            app.include_router(import_module(area).router)
            loaded.add(area)
