"""The page at ``/``: how the server is, and what is in it. Plain HTML, made here; its one style sheet is served beside
it. Everything that users have named is escaped."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from importlib.resources import files

import anyio.to_thread
from fastapi import APIRouter, Response
from manifold_common.domain.keys import Encryption
from manifold_common.errors import ManifoldError
from manifold_common.services.projects.projects import MAX_PAGE
from manifold_common.shapes.health import Dependency, ServerHealth, State
from manifold_common.shapes.projects import Project
from manifold_common.shapes.sessions import Session

from functions.api.caller import Call, Caller
from functions.api.checks import check_all
from functions.api.strict_route import StrictRoute

router = APIRouter(include_in_schema=False, route_class=StrictRoute)

_SHOWN_PROJECTS = 50
_SHOWN_SESSIONS = 50
_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_STYLE = files(__package__).joinpath("status.css").read_bytes()
_ICON = files(__package__).joinpath("icon.svg").read_bytes()

_NUMBER_COLUMNS = ("Generation", "Entries", "Size")
_NUMBER = ' class="number"'

_STATE_WORDS = {State.OK: "Working", State.DEGRADED: "Degraded", State.FAILED: "Down", State.OFF: "Not used"}
_OVERALL_WORDS = {
    State.OK: "All systems working",
    State.DEGRADED: "Working, with something degraded",
    State.FAILED: "Something that is needed is down",
}


@router.get("/")
async def page(caller: Caller) -> Response:
    health = await check_all(caller.manifold, caller.api.traffic)
    body = await anyio.to_thread.run_sync(_render, caller, health)
    return Response(body, media_type="text/html; charset=utf-8", headers={"Content-Security-Policy": _POLICY})


@router.get("/static/status.css")
async def style() -> Response:
    return Response(_STYLE, media_type="text/css; charset=utf-8")


@router.get("/static/icon.svg")
async def icon() -> Response:
    return Response(_ICON, media_type="image/svg+xml")


def _render(caller: Call, health: ServerHealth) -> str:
    now = datetime.now(UTC)
    return _PAGE.format(
        overall=health.status.value,
        overall_words=_OVERALL_WORDS[health.status],
        version=escape(health.version),
        warnings=_warnings([*_standing_warnings(caller), *health.warnings]),
        dependencies="".join(map(_dependency, health.dependencies)),
        projects=_projects(caller, now),
        sessions=_sessions(caller, now),
        now=f"{now:%Y-%m-%d %H:%M:%S} UTC",
    )


def _standing_warnings(caller: Call) -> list[str]:
    settings = caller.manifold.settings
    found = [f"There is no sign-in: whoever can reach {settings.server.host} can read and change every project."]
    if not settings.projects.encrypt:
        found.append("Encryption is off: new projects are stored as plaintext. Those that are encrypted stay so.")
    return found


def _warnings(texts: list[str]) -> str:
    if not texts:
        return ""
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f'<section class="notice" aria-label="Warnings"><ul>{items}</ul></section>'


def _dependency(found: Dependency) -> str:
    problem = ""
    if found.state in (State.DEGRADED, State.FAILED):
        last = f"{found.last_ok_at:%Y-%m-%d %H:%M:%S} UTC" if found.last_ok_at else "never, as far as this server knows"
        works = f"Still works: {escape(found.without_it)}. See {escape(found.see)}."
        problem = f'<p class="quiet">Last seen to work: {last}. {works}</p>'
    latency = "" if found.state is State.OFF else f'<span class="number">{found.latency_ms:.1f} ms</span>'
    return (
        f'<li class="card"><div class="row"><h3>{escape(found.name)}</h3>{latency}</div>'
        f'<p class="state {found.state.value}">{_STATE_WORDS[found.state]}</p>'
        f'<p class="detail">{escape(found.detail)}</p>{problem}</li>'
    )


def _projects(caller: Call, now: datetime) -> str:
    try:
        found = caller.manifold.projects.page(caller.principal, limit=_SHOWN_PROJECTS + 1)
        shown = caller.manifold.projects.with_plain_objects(caller.principal, found[:_SHOWN_PROJECTS])
    except ManifoldError as error:
        return _trouble(error)
    if not found:
        return _nothing("No projects yet.", "manifold import my-project ./folder --create")
    table = "".join(_project(one, now) for one in shown)
    more = _quiet("There are more: see /api/v1/projects.") if len(found) > _SHOWN_PROJECTS else ""
    return _table(("Project", "Generation", "Entries", "Size", "Stored", "Last change"), table) + more


def _project(project: Project, now: datetime) -> str:
    return (
        f'<tr><th scope="row"><a href="/api/v1/projects/{escape(project.id)}">{escape(project.name)}</a>'
        f"<code>{escape(project.id)}</code></th>"
        f'<td data-label="Generation" class="number">{project.generation}</td>'
        f'<td data-label="Entries" class="number">{project.entries:,}</td>'
        f'<td data-label="Size" class="number">{_size(project.total_bytes)}</td>'
        f'<td data-label="Stored">{_stored(project)}</td>'
        f'<td data-label="Last change">{_moment(project.updated_at, now)}</td></tr>'
    )


def _stored(project: Project) -> str:
    """Say how, as far as encryption goes."""
    if project.encryption is Encryption.ALL:
        return "encrypted"
    if project.encryption is Encryption.NONE:
        return "as plaintext"
    if project.unencrypted is None:
        return "encrypted, but for what it was forked from"
    return f"encrypted, but for {project.unencrypted.objects:,} older commit objects and checkpoints, and their packs"


def _sessions(caller: Call, now: datetime) -> str:
    try:
        found = caller.manifold.sessions.page(caller.principal, limit=_SHOWN_SESSIONS + 1)
        projects = caller.manifold.projects.page(caller.principal, limit=MAX_PAGE)
    except ManifoldError as error:
        return _trouble(error)
    if not found:
        return _nothing("No open sessions.", "manifold checkout my-project")
    names = {one.id: one.name for one in projects}
    table = "".join(_session(one, names.get(one.project, one.project), now) for one in found[:_SHOWN_SESSIONS])
    more = _quiet("There are more: see /api/v1/sessions.") if len(found) > _SHOWN_SESSIONS else ""
    return _table(("Session and project", "Generation", "Draft", "Opened", "Ends"), table) + more


def _session(found: Session, project: str, now: datetime) -> str:
    draft = _moment(found.draft_saved_at, now) if found.draft_saved_at else "none"
    return (
        f'<tr><th scope="row"><a href="/api/v1/sessions/{escape(found.session)}">{escape(found.session)}</a>'
        f"<small>{escape(project)}</small></th>"
        f'<td data-label="Generation" class="number">{found.base_generation}</td>'
        f'<td data-label="Draft">{draft}</td>'
        f'<td data-label="Opened">{_moment(found.created_at, now)}</td>'
        f'<td data-label="Ends">{_moment(found.expires_at, now)}</td></tr>'
    )


def _table(columns: tuple[str, ...], rows: str) -> str:
    head = "".join(f'<th scope="col"{_NUMBER if column in _NUMBER_COLUMNS else ""}>{column}</th>' for column in columns)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _nothing(text: str, command: str) -> str:
    return f'<p class="empty">{escape(text)} <code>{escape(command)}</code></p>'


def _quiet(text: str) -> str:
    return f'<p class="quiet">{escape(text)}</p>'


def _trouble(error: ManifoldError) -> str:
    return f'<p class="empty">These cannot be shown now: {escape(error.code.replace("_", " "))}.</p>'


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def _moment(when: datetime, now: datetime) -> str:
    seconds = (when - now).total_seconds()
    words = "just now" if seconds <= 0 else "in a moment"
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        count = round(abs(seconds) / length)
        if count:
            text = f"{count} {unit}{'s' * (count != 1)}"
            words = f"in {text}" if seconds > 0 else f"{text} ago"
            break
    return f'<time datetime="{when:%Y-%m-%dT%H:%M:%SZ}" title="{when:%Y-%m-%d %H:%M:%S} UTC">{words}</time>'


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="refresh" content="30">
<title>Manifold</title>
<link rel="icon" href="/static/icon.svg">
<link rel="stylesheet" href="/static/status.css">
</head>
<body>
<header>
<div class="brand"><img src="/static/icon.svg" alt="" width="28" height="28"><h1>Manifold</h1><span class="version">{version}</span></div>
<p class="overall {overall}">{overall_words}</p>
</header>
<main>
{warnings}
<section aria-labelledby="dependencies"><h2 id="dependencies">Dependencies</h2><ul class="cards">{dependencies}</ul></section>
<section aria-labelledby="projects"><h2 id="projects">Projects</h2>{projects}</section>
<section aria-labelledby="sessions"><h2 id="sessions">Sessions</h2>{sessions}</section>
</main>
<footer>
<p>As of {now}; this page looks again every 30 seconds.</p>
<p><a href="/api/v1/openapi.json">API description (OpenAPI)</a> <a href="/health">Health as JSON</a></p>
</footer>
</body>
</html>
"""  # noqa: E501 - markup
