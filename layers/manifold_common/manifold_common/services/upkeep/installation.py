"""Whether this is the installation that it says it is, or a copy of it.

A copied working folder, and a catalog that was restored from a dump, bring along what the original says of its
sessions, working sets and undelivered events. Until somebody has said whether the original goes on, nothing of that is
touched: projects can be read, and everything else is refused.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Protocol

from manifold_common.domain.installation import Standing
from manifold_common.engine.node_record import FolderPlace, NodeRecord, folder_place, read_record, write_record
from manifold_common.errors import AlreadyExists, Conflict
from manifold_common.ids import ID_BYTES, IncarnationId, encode_id
from manifold_common.ports.catalog import InstallationRow
from manifold_common.ports.catalog.backups import Backups
from manifold_common.ports.catalog.installation import Installation
from manifold_common.ports.clock import Randomness

_HOST_CHARACTERS = 40
_STORE_KEPT = timedelta(days=30)
"""How long nothing is removed from the store after a dump was loaded."""


class Adoption(Enum):
    """What a copy is to be."""

    SAME = "same"
    """The installation itself: the original is gone."""
    NEW = "new"
    """One of its own: the original goes on."""


@dataclass(frozen=True, slots=True)
class Home:
    """Where an installation has what belongs to it."""

    workdir: Path
    store: str
    """The place of its objects; ``IN_WORKDIR`` where that is copied along with the folder."""
    holds_database: bool
    """Whether the catalog lies in ``workdir``, too."""
    lasts: bool = True
    """Not in a function's container: nothing there is looked at by another one."""


IN_WORKDIR = "workdir"


class Catalog(Installation, Backups, Protocol):
    """The features that are needed here."""


class Installations:
    def __init__(self, catalog: Catalog, home: Home, randomness: Randomness) -> None:
        self._catalog = catalog
        self._home = home
        self._randomness = randomness

    def look(self) -> Standing:
        """Say what this installation is, and note that this machine is one of its nodes.

        Raises NoSpace, Unavailable: WORKDIR cannot be used. CatalogUnavailable.
        """
        home, row = self._home, self._catalog.installation()
        doubt = _doubt_of_database(row)
        if doubt is None and row.store == "":
            self._catalog.settle_installation(row.incarnation, incarnation=row.incarnation, store=home.store)
        if not home.lasts:
            return Standing(row.catalog, row.incarnation, self._new_node(), doubt)
        place = folder_place(home.workdir)
        record = read_record(home.workdir, row.catalog)
        if record is None:
            if doubt is None:
                write_record(home.workdir, row.catalog, self._record(row, place), first=True)
            record = read_record(home.workdir, row.catalog) or self._record(row, place)
        elif doubt is None:
            doubt = _doubt_of_folder(home, row, record, place)
        return Standing(row.catalog, row.incarnation, record.node, doubt)

    def adopt(self, adoption: Adoption) -> Standing:
        """Settle which installation this is. For a working folder that no other process uses.

        Raises:
            Conflict: a new one would write where the original does.
        """
        home, row, place = self._home, self._catalog.installation(), folder_place(self._home.workdir)
        incarnation, record = row.incarnation, read_record(home.workdir, row.catalog)
        node = record.node if record is not None else self._new_node()
        if adoption is Adoption.NEW:
            self._refuse_sharing(row, record, place)
            incarnation, node = IncarnationId(encode_id(self._randomness.token(ID_BYTES))), self._new_node()
        if _doubt_of_database(row) is not None:
            # The store may hold what was committed after the dump, and a later dump may be found that refers to it.
            with suppress(AlreadyExists):
                self._catalog.declare_backup(f"adopted-{incarnation}", _STORE_KEPT)
        if not self._catalog.settle_installation(row.incarnation, incarnation=incarnation, store=home.store):
            raise Conflict("another process has adopted this installation at the same time", hint="look again")
        settled = NodeRecord(incarnation, node, place, row.database)
        write_record(home.workdir, row.catalog, settled)
        return self.look()

    def _refuse_sharing(self, row: InstallationRow, record: NodeRecord | None, place: FolderPlace) -> None:
        home = self._home
        moved = record is not None and record.place != place
        if moved and not home.holds_database and row.settled_on == row.database:
            raise Conflict(
                f"{home.workdir} is a copy, but its database is the original's: two installations cannot share one",
                hint="'manifold adopt --same' makes this folder a node of that installation; for a new one, set "
                "DATABASE_URL to a database that the original's dump was loaded into",
            )
        if home.store == IN_WORKDIR:
            if record is not None and not moved and row.settled_on != row.database:
                raise Conflict(
                    f"only the database is a copy: {home.workdir} is the original's, and the object store lies in it",
                    hint="if the original goes on, stop it, copy the folder ('cp -a'), set WORKDIR to the copy, then "
                    "adopt there; if it is gone, 'manifold adopt --same'",
                )
            return
        if home.store == row.store != "":
            raise Conflict(
                f"a new installation cannot share the object store {home.store} with the original",
                hint="copy the objects to another bucket or prefix, set S3_BUCKET or S3_PREFIX (or "
                "PROJECTS_FILESYSTEM_ROOT) to it, then adopt",
            )

    def _record(self, row: InstallationRow, place: FolderPlace) -> NodeRecord:
        return NodeRecord(row.incarnation, self._new_node(), place, row.database)

    def _new_node(self) -> str:
        return f"{os.uname().nodename[:_HOST_CHARACTERS]}-{self._randomness.token(3).hex()}"


def _doubt_of_database(row: InstallationRow) -> str | None:
    if row.settled_on == row.database:
        return None
    return "the catalog was restored from a dump or copied: it was made for another database than the one it is in"


def _doubt_of_folder(home: Home, row: InstallationRow, record: NodeRecord, place: FolderPlace) -> str | None:
    if record.place != place:
        return f"the working folder {home.workdir} is a copy of another one, or came from another file system"
    if record.incarnation != row.incarnation:
        return f"the catalog has become another installation since {home.workdir} was used with it"
    if record.database != row.database:
        return f"the catalog has moved to another database since {home.workdir} was used with it"
    return None
