"""Working sets on this machine that are no session's: what was set aside, and what is not this installation's."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from manifold_common.domain.access import Principal
from manifold_common.domain.history import Point
from manifold_common.domain.installation import Standing
from manifold_common.domain.unknown import not_here
from manifold_common.domain.wording import plural
from manifold_common.engine.working_set.location import Location
from manifold_common.engine.working_set.retired import SetAside
from manifold_common.engine.working_set.state import load_state
from manifold_common.engine.working_set.working_sets import OpenWorkingSet, WorkingSets
from manifold_common.errors import NotFound, Unavailable
from manifold_common.ids import ProjectId, SessionId
from manifold_common.nearest import did_you_mean, nearest


class Stranger(NamedTuple):
    """A folder of another installation, or of a release that had no folder for each."""

    folder: str
    working_sets: int


class Origin(NamedTuple):
    """What a working set was made from."""

    folder: str
    project: ProjectId
    base: Point
    paths: list[str]


class Leftovers:
    """Of all users: for whoever looks after the machine."""

    def __init__(self, working_sets: WorkingSets, standing: Standing, depart: Callable[[OpenWorkingSet], None]) -> None:
        """Args: ``depart``: notes that a session has no working set any more."""
        self._working_sets = working_sets
        self._standing = standing
        self._depart = depart

    def set_aside(self) -> list[SetAside]:
        """Return what is set aside, by name."""
        return self._working_sets.folders.retired.aside()

    def origin(self, one: SetAside) -> Origin | None:
        """Return what a working set that is set aside was made from; ``None`` where nobody knows."""
        if one.owner is None:
            return None
        found = load_state(Location(one.folder, os.path.dirname(one.folder)).state, one.owner.tenant, one.owner.project)
        return None if found is None else Origin(one.folder, found.project, found.base, found.scope)

    def being_removed(self) -> list[str]:
        """Return the folders whose removal has not come to its end."""
        return self._working_sets.folders.retired.rest()

    def strangers(self) -> list[Stranger]:
        """Return what lies beside this installation's working sets. It is never touched."""
        return [Stranger(*found) for found in self._working_sets.folders.others()]

    def remove(self, names: Sequence[str]) -> None:
        """Remove what was set aside under these names, for good.

        Raises NotFound: nothing is, under one of them; all stays. NotAdopted. Unavailable: a process works in one, or
        some of it cannot be removed yet; those before it are gone.
        """
        self._standing.admit()
        retired = self._working_sets.folders.retired
        retired.require(names)
        for gone, name in enumerate(dict.fromkeys(names)):
            left = retired.drop(name)
            if left is not None:
                before = f"; {plural(gone, 'other')} before it {'is' if gone == 1 else 'are'} gone" if gone else ""
                raise Unavailable(
                    f"'{name}' could not be removed whole: {left}{before}",
                    hint="end the process that works there; a host goes on to remove it",
                )

    def put_aside(self, principal: Principal, session: SessionId) -> SetAside:
        """Set the working set of a session aside, as it is. The next checkout begins anew from what is stored.

        Raises NotFound: there is none on this machine. SessionBusy, NotAdopted.
        """
        own = [owner for owner in self._working_sets.folders.found() if owner.principal == principal]
        for owner in own:
            if owner.session == session:
                with self._working_sets.open(owner) as opened:
                    with suppress(NotFound):  # the catalog does not know the session, or no more
                        self._depart(opened)
                    return self._working_sets.set_aside(opened, "it was asked for")
        meant = nearest(session, (owner.session for owner in own))
        raise not_here(session, did_you_mean(meant, "'manifold sessions' shows which have one"))
