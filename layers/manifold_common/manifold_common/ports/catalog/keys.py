"""The catalog's wrapped data keys, and what of a project is under none.

A project's keys follow one another by *epoch*. In epoch 0 it may be in the clear; with the first sealed key of a later
epoch its encryption has begun, and nothing in the clear is taken of it any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from manifold_common.domain.keys import Kek, KeyCursor, KeyRecord, WrappedKey
from manifold_common.errors import KeyUnavailable
from manifold_common.ids import CommitId, ProjectId, TenantId
from manifold_common.ports.catalog.checkpoints import CheckpointRow
from manifold_common.ports.catalog.commits import Head


class PlainObjects(NamedTuple):
    """Commit objects and checkpoints that are not sealed. Packs, which no row names, are not among them."""

    objects: int
    stored_bytes: int


class Keys(Protocol):
    def project_keys(self, tenant: TenantId, project: ProjectId) -> list[KeyRecord]:
        """Return the keys, those of the highest epoch first. Which of them writes, only unwrapping them can tell.

        Raises NotFound.
        """

    def begin_epoch(
        self,
        key: KeyRecord,
        head: Head,
        *,
        drafts: Sequence[CommitId] | None = None,
        removals: int = 0,
        checkpoints: Sequence[CheckpointRow] = (),
    ) -> bool:
        """Add a sealed key whose epoch no other of the project has reached, if the project still is at ``head``, and at
        its ``gc_epoch``.

        Args:
            drafts: the unsealed drafts that are known of. ``None``: whichever there are.
            removals: how often generations were removed or checkpoints replaced, as far as is known.
            checkpoints: are recorded with the key, which seals them, in place of those of the same generations: one for
                each of ``history_starts``, which nobody could read otherwise.

        From then on the project takes nothing unsealed: neither commit, checkpoint and draft nor upload. All are
        refused with KeyUnavailable; commits even if they were under way.

        Returns:
            Whether it was added: not if the head has moved, another draft was saved unsealed, more generations were
            removed, or the epoch has begun already.

        Raises:
            NotFound. AlreadyExists: that DEK id is there already. InternalError: the key is of epoch 0, or PLAIN.
        """

    def plain_objects(self, tenant: TenantId, projects: Sequence[ProjectId]) -> dict[ProjectId, PlainObjects]:
        """Return what the projects' commits and checkpoints are not sealed; those that have none are left out."""

    def count_plain_projects(self) -> int:
        """Return how many living projects, of every tenant, have a record of PLAIN."""

    def keys_not_under(self, kek: Kek, *, after: KeyCursor | None = None, limit: int = 100) -> list[KeyRecord]:
        """Return keys that are wrapped under another KEK than this, by tenant, project and id, those after ``after``.

        Of every tenant, and of deleted projects too, which a KEK may not be retired before. Records of projects that
        are not encrypted are under no KEK and are left out.
        """

    def find_keys(self, names: Sequence[KeyCursor]) -> list[KeyRecord]:
        """Return those of the keys that are there, of any tenant, and of deleted projects too."""

    def replace_wrapped_key(self, before: KeyRecord, wrapped: WrappedKey) -> WrappedKey | None:
        """Replace how a key is wrapped, unless somebody else has done so since it was read as ``before``.

        Returns how it is wrapped now: as ``wrapped``, or as the other one did it; ``None`` if the key is gone.
        """


def encrypted_meanwhile(project: ProjectId) -> KeyUnavailable:
    """Return the error for something unsealed that came too late for its project."""
    return KeyUnavailable(
        f"project {project} has been encrypted since this process read its keys",
        hint="try again: what is new is encrypted then",
        reason="superseded",
    )
