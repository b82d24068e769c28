"""The errors for a project, a session or a working set that does not exist, with the names that may have been meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from manifold_common.errors import NotFound, SessionBusy
from manifold_common.ids import SessionId
from manifold_common.nearest import did_you_mean, nearest

_MOST_MEANT = 3


def unknown_session(session: SessionId, open_ones: Iterable[SessionId] = ()) -> NotFound:
    return NotFound(
        f"there is no session '{session}'",
        hint=did_you_mean(
            nearest(session, open_ones, most=_MOST_MEANT), "'manifold checkout PROJECT --session NAME' opens a session"
        ),
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
