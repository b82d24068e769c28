"""What every service works with. Built once, in ``bootstrap``."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from manifold_common.domain.access import Principal
from manifold_common.domain.arguments import checked_count, checked_flag, checked_seconds
from manifold_common.domain.event import DEFAULT_LISTED_PATHS
from manifold_common.domain.quota import UNLIMITED, Limits
from manifold_common.engine.block_reader import BlockReader
from manifold_common.engine.commit_writer import CommitWriter
from manifold_common.engine.data_keys import DataKeys
from manifold_common.engine.object_cache import ObjectCache
from manifold_common.engine.objects import SealedObjects
from manifold_common.engine.pack_writer import PackWriter
from manifold_common.engine.plaintext import Plaintext
from manifold_common.engine.session_scope import seal_scope
from manifold_common.engine.tree_log import Snapshot, TreeLog
from manifold_common.engine.workers import Workers
from manifold_common.errors import InvalidInput
from manifold_common.format.places import Places
from manifold_common.ids import PLAIN, ProjectId, SessionId, TenantId, encode_id
from manifold_common.ports.catalog import Catalog, CommitRow, SessionRow
from manifold_common.ports.clock import Clock, Randomness
from manifold_common.ports.generation_cache import GenerationCache, NoGenerationCache
from manifold_common.ports.object_store import ObjectAccess, ObjectStore


@dataclass(frozen=True, slots=True)
class Policy:
    """Choices an operator makes."""

    limits: Limits = UNLIMITED
    session_ttl_seconds: float = 86_400.0
    deleted_project_grace: timedelta = timedelta(days=7)
    """How long a deleted project can be brought back."""
    lock_timeout_seconds: float = 30.0
    commit_lease_wait_seconds: float = 10.0
    plaintext_in_ram: bool = True
    """Working sets, and archives while they are read, lie in memory, or (Lambda) where the platform encrypts them and
    throws them away. ``False``: on a disk, which encrypted projects must not get onto."""
    listed_paths: int | None = DEFAULT_LISTED_PATHS
    """How many changed paths an event names at most; ``None``: paths are not to be named."""
    lists_encrypted_paths: bool = True
    """Whether events name paths of encrypted projects at all."""

    def listed_paths_of(self, commit: CommitRow) -> int | None:
        """Return how many paths the event of a commit names; ``None``: none may be."""
        return self.listed_paths if self.lists_encrypted_paths or commit.dek == PLAIN else None

    def __post_init__(self) -> None:
        """Raises InvalidInput: a field is not what it is said to be."""
        for name in ("session_ttl_seconds", "lock_timeout_seconds", "commit_lease_wait_seconds"):
            checked_seconds(getattr(self, name), name)
        if self.deleted_project_grace < timedelta(0):
            raise InvalidInput("deleted_project_grace is below 0", hint="0 keeps no project that was deleted")
        checked_flag(self.plaintext_in_ram, "plaintext_in_ram")
        if self.listed_paths is not None:
            checked_count(self.listed_paths, "listed_paths")

    @property
    def session_ttl(self) -> timedelta:
        """How long a session that is not used goes on."""
        return timedelta(seconds=self.session_ttl_seconds)


class Nudge:
    """Wakes whoever delivers events in this process, or waits for some, when there is one more. Safe for threads.

    Nothing depends on it: without it events arrive all the same, only later.
    """

    def __init__(self) -> None:
        self._listeners: list[Callable[[], None]] = []

    def listen(self) -> threading.Event:
        """Return an event of the caller's own, which is set with each nudge."""
        event = threading.Event()
        self.tell(event.set)
        return event

    def tell(self, listener: Callable[[], None]) -> None:
        """Have ``listener`` called with each nudge, by the thread that gives it. It takes no time, and never raises."""
        self._listeners.append(listener)

    def give(self) -> None:
        for listener in self._listeners:
            listener()


@dataclass(frozen=True, slots=True)
class Context:
    catalog: Catalog
    keys: DataKeys
    store: ObjectStore
    objects: SealedObjects
    """What stands in the store, by way of the cache."""
    log: TreeLog
    writer: CommitWriter
    workers: Workers
    clock: Clock
    randomness: Randomness
    policy: Policy
    generations: GenerationCache = field(default_factory=NoGenerationCache)
    """Hints and messages between nodes: never what anything is decided by."""
    nudge: Nudge = field(default_factory=Nudge)
    """To be given after whatever wrote an event."""
    node: str | None = None
    """What this machine is called. ``None``: it has no name."""

    def new_id(self) -> str:
        return encode_id(self.randomness.token(16))

    def pack_writer(self, base: Snapshot, known: Places | None = None) -> PackWriter:
        """Return a writer for a commit on ``base``. Use it as a context manager.

        Args:
            known: where content is that is stored already. ``None``: what ``base`` knows.
        """
        known = base.places if known is None else known
        return PackWriter(
            base.tenant,
            base.project,
            self.keys.of(base.tenant, base.project),
            self.objects,
            self.workers,
            self.randomness,
            self.sound(base, known),
        )

    def sound(self, base: Snapshot, known: Places) -> Places:
        """Return those places that new content may be told to be at, in place of being stored: not those in objects
        that were found damaged."""
        if not base.head.is_damaged:
            return known
        damaged = {row.object for row in self.catalog.damaged_objects(base.tenant, base.project)}
        containers = {place.block.container for place in known.values()}
        unsound = {one for one in containers if one.seal().key in damaged}
        return {chunk: place for chunk, place in known.items() if place.block.container not in unsound}

    def session_row(
        self, principal: Principal, session: SessionId, base: Snapshot, patterns: tuple[str, ...]
    ) -> SessionRow:
        """Return the row of a session that is to be opened on ``base``; the catalog says when that was.

        Args:
            patterns: what it is restricted to; none: nothing.
        """
        now = self.clock.now()
        return SessionRow(
            tenant=principal.tenant,
            user=principal.user,
            session=session,
            project=base.project,
            base_generation=base.head.generation,
            base_commit=base.head.commit,
            draft=None,
            scope=seal_scope(self.writer, principal.tenant, base.project, session, patterns),
            created_at=now,
            expires_at=now,
        )

    def past_cache(self, store: ObjectAccess | None = None) -> SealedObjects:
        """Return what stands in the store, or in another one, itself."""
        none = ObjectCache(Path(), 0, clock=self.clock, randomness=self.randomness)
        return SealedObjects(store or self.store, none)

    @property
    def plaintext(self) -> Plaintext:
        return Plaintext(self.keys, in_ram=self.policy.plaintext_in_ram)

    def block_reader(self, tenant: TenantId, project: ProjectId) -> BlockReader:
        return BlockReader(self.keys.of(tenant, project), self.objects, self.workers)
