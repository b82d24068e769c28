"""Plans: what a client needs to read a generation from the object store by itself.

A plan holds a link to each stored object that the generation needs, each for a while, and the key of just that object.
The tree comes along as a checkpoint object of its own. Nothing that came after the generation is in it, no data key,
and no link that could change anything. What a client may have is decided here and nowhere else: the store only checks
links, and the seal only keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import timedelta

import msgspec

from manifold_common.domain.access import Principal
from manifold_common.domain.arguments import checked_count, checked_flag, listed_texts, optional_seen, settle
from manifold_common.domain.fitting import as_many_as_fit
from manifold_common.domain.history import Seen, point_of
from manifold_common.domain.object_key import ObjectKey
from manifold_common.domain.tree import Tree, chunk_ids
from manifold_common.engine.tree_log import Snapshot, key_of_checkpoint
from manifold_common.engine.working_set.scope import Scope
from manifold_common.errors import ConfigError, ContentCollected, NotFound, StaleStore
from manifold_common.format.places import Container, Places
from manifold_common.format.sealed import HEADER_BYTES, ObjectKind, Seal, unpack_header
from manifold_common.ids import Generation, ProjectId
from manifold_common.ports.object_links import ObjectLinks
from manifold_common.services.context import Context
from manifold_common.services.projects.history import History
from manifold_common.shapes.access import GrantedTree, ObjectGrant, Plan

INLINE_TREE_BYTES = 3 << 20
"""A larger tree is stored as a checkpoint and read through a link: a function's answer holds 6 MB, in base64."""
MAX_OBJECTS = 2000
"""In one plan. The rest is asked for with ``first``."""
_GRANT_BYTES = 300
PLAN_BYTES = 5 << 20
"""Of one plan, about: it has to pass through a function. Links may be long, and a tree may come along."""


class Wanted(msgspec.Struct, frozen=True):
    """What a plan is to be good for. Raises InvalidInput: a field is not what it is said to be."""

    patterns: tuple[str, ...] = ()
    """Content of these paths only; none: of all."""
    known: Seen | None = None
    """Content that this generation does not have. Ignored where it is not in the project's history."""
    first: int = 0
    content: bool = True
    """``False``: the tree alone."""

    def __post_init__(self) -> None:
        settle(
            self,
            patterns=listed_texts(self.patterns, "patterns"),
            known=optional_seen(self.known, "known"),
            first=checked_count(self.first, "first"),
            content=checked_flag(self.content, "content"),
        )


EVERYTHING = Wanted()


class Plans:
    """Args: ``links``: ``None`` where the store gives none. ``link_seconds``: how long they last."""

    def __init__(self, context: Context, history: History, links: ObjectLinks | None, link_seconds: int) -> None:
        self._context = context
        self._history = history
        self._links = links
        self.link_seconds = link_seconds

    @property
    def links(self) -> ObjectLinks:
        """Raises ConfigError: the store gives no links."""
        if self._links is None:
            raise ConfigError(
                "this server's object store cannot be reached by clients",
                hint="use the server's own files and sessions, set projects.backend to s3, or have a host, not a "
                "function, serve the folder",
            )
        return self._links

    def plan(
        self,
        principal: Principal,
        project: ProjectId,
        generation: Generation | None = None,
        wanted: Wanted = EVERYTHING,
    ) -> Plan:
        """Return what it takes to read a generation (``None``: the newest).

        Raises:
            NotFound: no such project or generation. ConfigError: the store gives no links. InvalidInput: a pattern.
        """
        plan = self.without_id_key(principal, project, generation, wanted)
        if all(grant.object_key for grant in plan.objects):
            return plan
        return msgspec.structs.replace(plan, id_key=bytes(self._context.keys.of(principal.tenant, project).id_key))

    def without_id_key(
        self, principal: Principal, project: ProjectId, generation: Generation | None, wanted: Wanted
    ) -> Plan:
        """Return a plan for who is told the key that names chunks beside it. Raises as ``plan``."""
        snapshot = self._history.snapshot(principal, project, generation)
        newest = snapshot.head.generation
        if generation is not None:
            newest = self._context.catalog.head(principal.tenant, project).generation
        known = self._known(principal, project, wanted)
        tree = Scope(wanted.patterns).select(snapshot.tree) if wanted.content else {}
        containers = self.containers(tree, snapshot.places, known.tree if known else {})
        plan = self.of_tree(principal, snapshot, newest, containers, wanted.first)
        return msgspec.structs.replace(plan, known=str(known.head.point) if known else None)

    def _known(self, principal: Principal, project: ProjectId, wanted: Wanted) -> Snapshot | None:
        """Return what the client has, if that is in the project's history."""
        if wanted.known is None or not wanted.content:
            return None
        at = point_of(wanted.known)
        try:
            return self._context.log.load(principal.tenant, project, at.generation, commit=at.commit)
        except (NotFound, StaleStore):
            return None  # of a history that was replaced, or of another project

    def of_tree(
        self,
        principal: Principal,
        snapshot: Snapshot,
        newest: Generation,
        containers: Iterable[Container],
        first: int = 0,
    ) -> Plan:
        """Return a plan for a snapshot that the caller may see, with the objects that it names."""
        every = sorted({container.seal() for container in containers})
        tree = None if first else self._tree(snapshot)
        objects = self.grants(principal, snapshot.project, every[first : first + MAX_OBJECTS])
        room = PLAN_BYTES - (len(tree.data) * 4 // 3 if tree and tree.data else 0)
        head = snapshot.head
        return Plan(
            tenant=principal.tenant,
            user=principal.user,
            project=snapshot.project,
            generation=head.generation,
            commit=head.commit,
            record_hash=head.record_hash,
            skills_generation=head.skills_generation,
            head_generation=newest,
            tree=tree,
            objects=list(as_many_as_fit(objects, room, _length_of, at_least=1)),
            objects_total=len(every),
            expires_at=self._context.clock.now() + timedelta(seconds=self.link_seconds),
        )

    @staticmethod
    def containers(tree: Tree, places: Places, known: Mapping[bytes, object] | None = None) -> set[Container]:
        """Return the objects that hold the content of ``tree``, but for files that ``known`` has just so."""
        known = known or {}
        return {
            places[chunk].block.container
            for path, entry in tree.items()
            if known.get(path) != entry
            for chunk in chunk_ids(entry)
        }

    def grants(self, principal: Principal, project: ProjectId, seals: list[Seal]) -> list[ObjectGrant]:
        """Return the right to read each of these objects."""
        keys = self._context.keys.of(principal.tenant, project)
        urls = self.links.to_read([seal.key for seal in seals], seconds=self.link_seconds)
        return [_grant(seal, keys.object_key(seal), url) for seal, url in zip(seals, urls, strict=True)]

    def _tree(self, snapshot: Snapshot) -> GrantedTree | None:
        """Return the tree as a checkpoint object: sealed for this answer alone, or stored where it is too large."""
        head, tenant, project = snapshot.head, snapshot.tenant, snapshot.project
        if head.commit is None:
            return None
        context = self._context
        keys = context.keys.of(tenant, project)
        stored = context.catalog.read_plan(tenant, project, head.generation).checkpoint
        if stored is not None and stored.commit == head.commit and stored.object_bytes > INLINE_TREE_BYTES:
            key = key_of_checkpoint(tenant, project, stored)
            (start,) = context.store.get_ranges(key, [(0, HEADER_BYTES)])
            seal = unpack_header(start, key, ObjectKind.CHECKPOINT, stored.dek)
        else:
            container, data = context.writer.seal_checkpoint(snapshot)
            seal = container.seal()
            if len(data) <= INLINE_TREE_BYTES:
                return GrantedTree(grant=_grant(seal, keys.object_key(seal), ""), data=bytes(data))
            row = context.writer.store_checkpoint(snapshot, container, data)
            with suppress(ContentCollected):  # it stays for this answer all the same
                context.catalog.add_checkpoint(tenant, project, row, gc_epoch=head.gc_epoch)
        (url,) = self.links.to_read([seal.key], seconds=self.link_seconds)
        return GrantedTree(grant=_grant(seal, keys.object_key(seal), url), data=None)


def _grant(seal: Seal, object_key: bytes, url: str) -> ObjectGrant:
    return ObjectGrant(
        key=ObjectKey(seal.key),
        kind=int(seal.kind),
        object_id=seal.object_id,
        dek=seal.dek,
        object_key=object_key,
        url=url,
    )


def _length_of(grant: ObjectGrant) -> int:
    return len(grant.url) + len(grant.key) + _GRANT_BYTES
