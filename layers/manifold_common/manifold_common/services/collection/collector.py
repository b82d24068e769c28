"""Finds what nothing refers to in a fork family, and has it go, in the order that ports/catalog/collection.py gives.

Anything that fails here leaves more in the store than there need be, never less. A family is collected by one worker or
by several at a time; each looks again before it condemns, and condemns only what it has suspected itself, if no other
one has come between.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

from blake3 import blake3

from manifold_common.domain.garbage import Cause, Garbage
from manifold_common.domain.tree import chunk_ids
from manifold_common.engine.tree_log import Snapshot
from manifold_common.errors import ContentCollected, CorruptObject
from manifold_common.format.layout import below_project, project_prefix
from manifold_common.format.places import Places
from manifold_common.ids import Generation, ProjectId, TenantId
from manifold_common.ports.catalog import Holdings, Moment, Standing
from manifold_common.ports.object_store import ObjectInfo
from manifold_common.services.collection.compaction import Compaction
from manifold_common.services.collection.measuring import measure
from manifold_common.services.collection.reach import Reach, named
from manifold_common.services.collection.retention import Retention
from manifold_common.services.collection.tally import Collected, Tally
from manifold_common.services.context import Context
from manifold_common.shapes.garbage import CollectionPlan, GarbageOfProject

_log = logging.getLogger(__name__)

_OURS = re.compile(
    r"(packs/[a-z2-7]{26}|keys/[a-z2-7]{26}|(commits|checkpoints)/[0-9]{12}-[a-z2-7]{26}(-[a-z2-7]{26})?)\Z"
)
"""What may be in a project's folder. Anything else was put there by somebody else, and is left alone."""
_NAMED_BY_ROWS = re.compile(r"t/[^/]+/p/[^/]+/(commits|checkpoints)/[^/]+\Z")
"""Objects that the catalog names itself. What else an error may be about is no object, or is named by these."""
_AT_ONCE = 10_000
_MOST_SUSPECTED = 100_000
"""In one run: whoever can write to the store could fill the catalog otherwise. The next run goes on."""

Found = dict[ProjectId, list[Garbage]]
Stored = Mapping[ProjectId, Sequence[ObjectInfo]]
Item = TypeVar("Item")


class Collector:
    def __init__(
        self,
        context: Context,
        retention: Retention,
        compaction: Compaction,
        grace_seconds: float,
        tally: Tally | None = None,
    ) -> None:
        """
        Args:
            grace_seconds: younger objects are left alone: whoever has stored one may be about to refer to it.
        """
        self._context = context
        self._retention = retention
        self._compaction = compaction
        self._grace = timedelta(seconds=grace_seconds)
        self._tally = tally or Tally()

    def collect(self, tenant: TenantId, leader: ProjectId) -> bool:
        """Remove what no rule keeps from the history of each project of a family, condemn what nothing refers to, and
        note what each has stored.

        Returns whether there was anything to do.

        Raises:
            CorruptObject: something of it cannot be read, so that what it refers to is not known; nothing is condemned.
            ContentCollected: others have collected meanwhile, and what it was about to read is gone.
            KeyUnavailable, StoreUnavailable, CatalogUnavailable: the next run goes on.
        """
        with self._while_named(tenant, leader):
            return self._collect(tenant, leader)

    def measure(self, tenant: TenantId, leader: ProjectId) -> None:
        """Note what each project of a family has stored. Removes and condemns nothing. Raises as ``collect``."""
        with self._while_named(tenant, leader):
            self._measure(tenant, leader)

    def plan(self, tenant: TenantId, leader: ProjectId) -> CollectionPlan:
        """Say what ``collect`` would do now, and why. Changes nothing. Raises as ``collect``."""
        with self._while_named(tenant, leader):
            return self._plan(tenant, leader)

    @contextmanager
    def _while_named(self, tenant: TenantId, leader: ProjectId) -> Iterator[None]:
        """An object that cannot be read is damaged only where the catalog still names it.

        Raises ContentCollected: it does not, so that others may have removed it by right, or mended it.
        """
        try:
            yield
        except CorruptObject as error:
            if not _NAMED_BY_ROWS.match(error.object_name):
                raise
            family = self._family(tenant, leader)
            if not any(error.object_name in named(holdings) for holdings in family.values()):
                raise ContentCollected(leader) from error
            raise

    def _collect(self, tenant: TenantId, leader: ProjectId) -> bool:
        removed = sum(self._retention.apply(one) for one in self._family(tenant, leader).values())
        self._tally.add(Collected(removed_generations=removed))
        family = self._family(tenant, leader)
        stored = self._stored(family)
        old = self._old(family, stored)
        seen = _fingerprint(family, old)
        if not removed and seen == family[leader].collected:
            return False
        reach = self._reached(family, Reach(self._context))
        sizes = _sizes(old)
        moved = set[str]().union(*[self._compact(holdings, reach, sizes) for holdings in family.values()])
        if moved:
            family = self._family(tenant, leader)
            self._reached(family, reach)
        live = self._live(family, reach)
        found = self._unreached(family, old, reach, moved=moved)
        self._clear(tenant, family, found)
        if not any(found.values()):
            self._context.catalog.note_usage(tenant, measure(family, stored, reach.objects, live, set()))
            self._context.catalog.note_collected(tenant, leader, seen)
            return bool(removed)
        condemned = self._condemn(tenant, leader, family, found, reach)
        self._context.catalog.note_usage(tenant, measure(family, stored, reach.objects, live, condemned))
        return bool(removed or condemned)

    def _measure(self, tenant: TenantId, leader: ProjectId) -> None:
        family = self._family(tenant, leader)
        stored = self._stored(family)
        reach = self._reached(family, Reach(self._context))
        live = self._live(family, reach)
        self._context.catalog.note_usage(tenant, measure(family, stored, reach.objects, live, set()))

    def _plan(self, tenant: TenantId, leader: ProjectId) -> CollectionPlan:
        family = self._family(tenant, leader)
        due = {project: self._retention.due(holdings) for project, holdings in family.items()}
        old = self._old(family, self._stored(family))
        if not any(due.values()) and _fingerprint(family, old) == family[leader].collected:
            return CollectionPlan(projects=[])
        reach = Reach(self._context)
        starts: dict[ProjectId, Places] = {}
        for project, holdings in family.items():
            places = starts[project] = {}
            missing = self._retention.missing_starts(holdings, due[project]) if due[project] else ()
            reach.take(holdings, frozenset(due[project]), _noted(missing, places))
        found = self._unreached(family, old, reach, due)
        sizes = _sizes(old)
        leaving = {
            project: self._compaction.plan(holdings, reach, sizes, frozenset(due[project]), starts[project])
            for project, holdings in family.items()
        }
        return CollectionPlan(
            projects=[
                GarbageOfProject.of(project, due[project], found[project], leaving[project])
                for project in family
                if due[project] or found[project] or leaving[project]
            ]
        )

    def _compact(self, holdings: Holdings, reach: Reach, sizes: Mapping[str, int]) -> set[str]:
        """Like ``Compaction.compact``. What is damaged stays where it is, and what is garbage goes all the same."""
        try:
            return self._compaction.compact(holdings, reach, sizes)
        except CorruptObject as error:
            _log.warning("project %s is not compacted: %s", holdings.project, error.message)
            return set()

    @staticmethod
    def _reached(family: Mapping[ProjectId, Holdings], reach: Reach) -> Reach:
        for holdings in family.values():
            reach.take(holdings)
        return reach

    @staticmethod
    def _live(family: Mapping[ProjectId, Holdings], reach: Reach) -> set[str]:
        """Return the keys of what reading the newest generations takes."""
        return set[str]().union(*map(reach.needed_by_head, family.values()))

    def _family(self, tenant: TenantId, leader: ProjectId) -> dict[ProjectId, Holdings]:
        catalog = self._context.catalog
        return {one.project: catalog.holdings(tenant, one.project) for one in catalog.fork_family(tenant, leader)}

    def _stored(self, family: Mapping[ProjectId, Holdings]) -> Stored:
        """Return what each project has stored, by key."""
        stored = {}
        for project, holdings in family.items():
            listed = self._context.store.list(project_prefix(holdings.tenant, project))
            stored[project] = sorted(one for one in listed if _OURS.match(below_project(one.key)))
        return stored

    def _old(self, family: Mapping[ProjectId, Holdings], stored: Stored) -> Stored:
        """Return what of it has been there for longer than the grace."""
        return {
            project: [one for one in some if one.modified < family[project].now - self._grace]
            for project, some in stored.items()
        }

    @staticmethod
    def _unreached(
        family: Mapping[ProjectId, Holdings],
        stored: Stored,
        reach: Reach,
        due: Mapping[ProjectId, Sequence[Generation]] | None = None,
        *,
        moved: Collection[str] = (),
    ) -> Found:
        """
        Args:
            due: generations that ``reach`` has as removed, and that are still there.
            moved: keys of what compaction has left just now.
        """
        reached, due = reach.objects, due or {}
        return {
            project: [
                Garbage(
                    below_project(one.key),
                    one.size,
                    Cause.MOVED if one.key in moved else _cause(holdings, due.get(project, ())),
                )
                for one in stored.get(project, ())
                if one.key not in reached and below_project(one.key) not in holdings.listed
            ]
            for project, holdings in family.items()
        }

    def _clear(self, tenant: TenantId, family: Mapping[ProjectId, Holdings], found: Found) -> None:
        """Take off the list what was suspected before and is not found now: it is referred to, or is gone already."""
        cleared = []
        for project, holdings in family.items():
            suspected = {one.object for one in holdings.suspected}
            cleared += [(project, one) for one in suspected.difference(one.object for one in found[project])]
        for some in _some(cleared):
            self._context.catalog.settle(tenant, {}, some, [])

    def _condemn(
        self, tenant: TenantId, leader: ProjectId, seen: Mapping[ProjectId, Holdings], found: Found, reach: Reach
    ) -> set[str]:
        """Suspect what was found, look for what has come to refer to it before the epoch moved, and condemn the others.

        Args: ``seen``: the family, before anything of it was looked for. Returns the keys of what is condemned.
        """
        catalog = self._context.catalog
        epochs: dict[ProjectId, int] = {}
        every = [(project, one) for project, some in found.items() for one in some][:_MOST_SUSPECTED]
        for some in _some(every):
            members = [one.project for one in catalog.fork_family(tenant, leader)]
            epochs = catalog.suspect(tenant, members, some)
        family = self._family(tenant, leader)
        # Who writes to a fork that was made meanwhile may not have been told; but nothing of it was removed.
        moments = {
            project: Moment(
                epochs.get(project, holdings.head.gc_epoch), seen[project].removals if project in seen else 0
            )
            for project, holdings in family.items()
        }
        reached = self._reached(family, reach).objects
        done: set[str] = set()
        for some in _some(every):
            keys = {(project, one.object): f"{project_prefix(tenant, project)}/{one.object}" for project, one in some}
            cleared = [one for one, key in keys.items() if key in reached]
            condemned = [one for one, key in keys.items() if key not in reached]
            if not catalog.settle(tenant, moments, cleared, condemned):
                break  # the next collection goes on
            done.update(keys[one] for one in condemned)
            size = sum(one.bytes for project, one in some if keys[project, one.object] not in reached)
            self._tally.add(Collected(condemned_objects=len(condemned), condemned_bytes=size))
        return done


def _some(every: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """Yield the items, as many at a time as the catalog may be asked about at once."""
    return (every[start : start + _AT_ONCE] for start in range(0, len(every), _AT_ONCE))


def _sizes(stored: Stored) -> dict[str, int]:
    return {one.key: one.size for some in stored.values() for one in some}


def _noted(snapshots: Iterable[Snapshot], places: Places) -> Iterator[Snapshot]:
    """Yield trees one by one, and note where the content of their files is."""
    for snapshot in snapshots:
        for entry in snapshot.tree.values():
            places.update((chunk, snapshot.places[chunk]) for chunk in chunk_ids(entry))
        yield snapshot


def _cause(holdings: Holdings, due: Sequence[Generation]) -> Cause:
    """Return why nothing refers to an object. What was cut off is not told from history, once there is any of that."""
    if holdings.standing is Standing.PURGED:
        return Cause.DELETED
    return Cause.HISTORY if holdings.removals or due else Cause.ORPHAN


def _fingerprint(family: Mapping[ProjectId, Holdings], stored: Stored) -> bytes:
    """Return a digest of all that decides whether there is garbage. Where it is as it was when there was none, only
    references have been added since, if any."""
    digest = blake3()
    for project, holdings in sorted(family.items()):
        digest.update(f"{project} {holdings.standing.value} {holdings.removals}\n".encode())
        names = [
            *(one.key for one in stored[project] if below_project(one.key) not in holdings.listed),
            *(row.commit for row in holdings.drafts),
            *(f"{row.generation}-{row.object_id}" for row in holdings.checkpoints),
            *(one.name for one in holdings.uploads),
            *(" ".join((one.upload, str(len(parts)), *one.spare)) for one, parts in holdings.resumable),
            *(f"{generation}-{commit}" for generation, commit in sorted(holdings.superseded)),
            *(key.dek for key in holdings.keys),
            *(one.object for one in holdings.suspected),
        ]
        digest.update("\n".join(names).encode())
    return digest.digest()
