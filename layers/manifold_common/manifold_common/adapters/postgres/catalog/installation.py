"""The one row that says which installation a database holds."""

from __future__ import annotations

from manifold_common.adapters.postgres.database import Database
from manifold_common.errors import CatalogUnavailable
from manifold_common.ids import IncarnationId, parse_catalog_id, parse_incarnation_id
from manifold_common.ports.catalog import DatabaseIdentity, InstallationRow

_HERE = """(SELECT system_identifier::text FROM pg_control_system()),
       (SELECT oid::bigint FROM pg_database WHERE datname = current_database())"""

_LOOK = f"""
SELECT catalog_id, incarnation, system_identifier, database_oid, store,
       {_HERE}
FROM installation
"""

_SETTLE = f"""
UPDATE installation SET incarnation = %(incarnation)s, store = %(store)s, (system_identifier, database_oid) = (
    SELECT {_HERE}
)
WHERE incarnation = %(seen)s RETURNING 1
"""


class Installation:
    _db: Database

    def installation(self) -> InstallationRow:
        found = self._db.read(_LOOK, ())
        if not found:
            raise CatalogUnavailable(
                "the database does not say which installation it holds: the table 'installation' is empty",
                hint="it was loaded in part only: load the dump again, into an empty database",
            )
        catalog, incarnation, system, oid, store, system_here, oid_here = found[0]
        return InstallationRow(  # both ids become names of folders
            parse_catalog_id(catalog),
            parse_incarnation_id(incarnation),
            DatabaseIdentity(system, oid),
            DatabaseIdentity(system_here, oid_here),
            store,
        )

    def settle_installation(self, seen: IncarnationId, *, incarnation: IncarnationId, store: str) -> bool:
        return bool(self._db.write(_SETTLE, {"seen": seen, "incarnation": incarnation, "store": store}))
