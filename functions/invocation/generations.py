"""Generations as requests name them, by number or by tag."""

from __future__ import annotations

from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import Principal
from manifold_common.domain.tag import Named
from manifold_common.ids import Generation, ProjectId, SessionId


def generation_for(
    manifold: Manifold,
    principal: Principal,
    session: SessionId | None,
    project: ProjectId | None,
    named: Named | None,
) -> Generation | None:
    """Return the generation that a session is to be brought to.

    Args:
        session: which of them, if it is there already.
        project: the one that it is to be opened on; ``None``: the one that it works on.

    Raises:
        NotFound: no such tag, or no such session.
    """
    if not isinstance(named, str):
        return named
    if project is None and session is not None:
        project = manifold.sessions.get(principal, session).project
    return None if project is None else manifold.tags.resolve(principal, project, named)
