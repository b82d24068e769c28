"""The errors for a project or a session that does not exist, with the names that may have been meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from manifold_common.errors import NotFound
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


def unknown_project(name_or_id: str, meant: Sequence[str] = ()) -> NotFound:
    return NotFound(
        f"there is no project {name_or_id[:80]!r}",
        hint=did_you_mean(meant, "'manifold project list' shows the projects"),
    )
