"""What a generation cache promises: that nodes hear of each other's commits sooner. Never anything else.

**It is only ever a faster path.** Whatever it says is a hint. A hint that is wrong, stale, too low, too high, or
absent costs a look into the catalog, or an upload that comes too late; it never decides what a checkout shows or what
a commit becomes. So no caller may take "no news" from here for "nothing has changed".

Every method but ``Listener.next`` and ``listen`` swallows the failures of its server: a call returns within the
adapter's time-out, and while the server is known to be down, at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple, Protocol

from manifold_common.errors import Unavailable
from manifold_common.ids import Generation, ProjectId, TenantId


class Generations(NamedTuple):
    generation: Generation
    skills_generation: Generation


class Invalidation(NamedTuple):
    """A project has reached a generation: what was known of it before is stale."""

    tenant: TenantId
    project: ProjectId
    generation: Generation
    skills_generation: Generation


class CacheHealth(NamedTuple):
    ok: bool
    detail: str
    latency_seconds: float


class Listener(Protocol):
    """Hears what is announced by any node, from the moment it was made until it breaks. Not for several threads."""

    def next(self, timeout_seconds: float) -> Invalidation | None:
        """Return the next announcement, or ``None`` when there was none in time, or none yet.

        Announcements of one project come in the order in which they were made. Any may be lost, or come twice.

        Raises:
            Unavailable: the connection is lost, and announcements with it. Listen anew.
        """


class GenerationCache(Protocol):
    """Safe for threads."""

    def hint(self, tenant: TenantId, project: ProjectId) -> Generations | None:
        """Return the highest generations that were announced, or ``None`` when nothing usable is known."""

    def announce(self, news: Invalidation) -> bool:
        """Note the generations, unless higher ones are noted already, and tell all listeners.

        Made twice or out of order, it does no harm. Returns whether the server took it.
        """

    def writer_lease(
        self, tenant: TenantId, project: ProjectId, *, wait_seconds: float
    ) -> AbstractContextManager[bool]:
        """Wait at most ``wait_seconds`` for this project's lease among the writers of all nodes.

        Yields ``False`` when another writer still has it; ``True`` when it was had, or when nobody can say.

        A politeness, so that a writer does not upload what comes too late. Two may have it at once: when a
        holder is slower than the lock's life, or the server forgets.
        """

    def listen(self) -> AbstractContextManager[Listener]:
        """Hear every project of every tenant. Whatever is announced after entering is heard.

        Raises:
            Unavailable: the server cannot be listened to.
        """

    def health(self) -> CacheHealth:
        """Say whether the server answers. Never raises."""

    def close(self) -> None:
        """Give connections back. The cache is not used afterwards."""


class NoGenerationCache:
    """For a node that is on its own: no hints, nobody to tell, and every lease is free."""

    def hint(self, tenant: TenantId, project: ProjectId) -> Generations | None:  # noqa: ARG002 - the shape of the port
        return None

    def announce(self, news: Invalidation) -> bool:  # noqa: ARG002
        return False

    @contextmanager
    def writer_lease(self, tenant: TenantId, project: ProjectId, *, wait_seconds: float) -> Iterator[bool]:  # noqa: ARG002
        yield True

    def listen(self) -> AbstractContextManager[Listener]:
        raise Unavailable("this node does not hear of others", hint="turn projects.redis.enabled on")

    def health(self) -> CacheHealth:
        return CacheHealth(True, "not used", 0.0)

    def close(self) -> None:
        pass
