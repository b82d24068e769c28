"""Names that the shell completes: projects, tags, sessions and jobs, as the catalog has them, and sinks, as the
settings do. Whatever goes wrong, nothing is offered: a completion must never print an error into someone's command
line."""

from __future__ import annotations

import typer

from manifold_local.cli.call import Call

_MOST = 200


def complete_project(incomplete: str) -> list[str]:
    """Return the names of projects that begin so."""
    try:
        call = Call(quiet=True)
        with call.manifold() as manifold:
            rows = manifold.projects.page(call.principal, limit=_MOST)
        return [row.name for row in rows if row.name.startswith(incomplete)]
    except Exception:
        return []


def complete_tag(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names of tags that begin so, of the project that the command line names."""
    try:
        call = Call(quiet=True)
        named = ctx.params["project"] or ctx.args[0]  # left over where an option waits for its value
        with call.manifold() as manifold:
            project = manifold.projects.resolve(call.principal, named)
            tags = manifold.tags.all(call.principal, project.id)
        names: list[str] = [tag.name for tag in tags if tag.name.startswith(incomplete)]
        return names[:_MOST]
    except Exception:
        return []


def complete_session(incomplete: str) -> list[str]:
    """Return the ids of sessions that begin so."""
    try:
        call = Call(quiet=True)
        with call.manifold() as manifold:
            rows = manifold.sessions.all(call.principal)
        names: list[str] = [row.session for row in rows if row.session.startswith(incomplete)]
        return names[:_MOST]
    except Exception:
        return []


def complete_sink(incomplete: str) -> list[str]:
    """Return the names of configured sinks of events that begin so."""
    try:
        from manifold_common.bootstrap import event_sinks

        return [name for name in event_sinks(Call(quiet=True).settings) if name.startswith(incomplete)]
    except Exception:
        return []


def complete_job(incomplete: str) -> list[str]:
    """Return the ids of jobs that begin so, the newest first."""
    try:
        from manifold_common.domain.job import JobFilter

        call = Call(quiet=True)
        with call.manifold() as manifold:
            rows = manifold.jobs.page(call.principal, JobFilter(), limit=_MOST)
        return [row.id for row in rows if row.id.startswith(incomplete)]
    except Exception:
        return []


def complete_kind(incomplete: str) -> list[str]:
    """Return the kinds of jobs that begin so."""
    from manifold_common.bootstrap.jobs import KINDS

    return [name for name in KINDS if name.startswith(incomplete)]
