"""The errors for a project, session, working set or parameter that does not exist, and what may have been meant."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from manifold_common.errors import InvalidInput, NotFound, SessionBusy
from manifold_common.ids import SessionId, TagName
from manifold_common.nearest import did_you_mean, nearest

_MOST_MEANT = 3
_SHOWN = 80


def unknown_session(session: SessionId, open_ones: Iterable[SessionId] = ()) -> NotFound:
    return NotFound(
        f"there is no session '{session}'",
        hint=did_you_mean(
            nearest(session, open_ones, most=_MOST_MEANT), "'manifold checkout PROJECT --session NAME' opens a session"
        ),
    )


def closed_session(session: SessionId) -> NotFound:
    """The session is not there, and its working set still is."""
    return NotFound(
        f"there is no session '{session}' any more, and its working set is still on this machine",
        hint=f"'manifold leftovers set-aside {session}' keeps it under a name, 'manifold leftovers list' shows where",
    )


def not_here(session: SessionId, hint: str) -> NotFound:
    """Args: ``hint``: how to bring it here, or what is here."""
    return NotFound(f"session '{session}' has no working set on this machine", hint=hint)


def reopened(session: SessionId) -> SessionBusy:
    return SessionBusy(
        f"session '{session}' was closed, and opened again on another project",
        hint="try again: the other project is known now",
    )


def unknown_project(name_or_id: str, meant: Sequence[str] = ()) -> NotFound:
    return NotFound(
        f"there is no project {name_or_id[:80]!r}",
        hint=did_you_mean(meant, "'manifold project list' shows the projects"),
    )


def unknown_deleted_project(name_or_id: str, meant: Sequence[str] = ()) -> NotFound:
    """It was never there, is another user's, or was deleted too long ago."""
    return NotFound(
        f"there is no deleted project {name_or_id[:80]!r} that can be brought back",
        hint=did_you_mean(meant, "'manifold project list --deleted' shows those that can be"),
    )


def unknown_tag(name: TagName, meant: Sequence[str] = ()) -> NotFound:
    return NotFound(
        f"the project has no tag {name!r}", hint=did_you_mean(meant, "'manifold tags PROJECT' shows those that it has")
    )


def empty_generation() -> NotFound:
    """Generation 0 is asked for as a commit."""
    return NotFound("generation 0 is the empty project: no commit made it", hint="commits count from 1")


def unknown_parameter(name: str, known: Collection[str]) -> InvalidInput:
    """Args: ``known``: those that the address of the request takes."""
    taken = f"this address takes {', '.join(known)}" if known else "this address takes none"
    return InvalidInput(
        f"there is no query parameter {name[:_SHOWN]!r} here",
        hint=did_you_mean(nearest(name, known), taken),
        parameter=name[:_SHOWN],
    )


def unknown_metadata(name: str, known: Collection[str]) -> InvalidInput:
    """Args: ``known``: what Upload-Metadata may have."""
    return InvalidInput(
        f"there is no {name[:_SHOWN]!r} in Upload-Metadata",
        hint=did_you_mean(nearest(name, known), f"it may have {', '.join(known)}"),
    )
