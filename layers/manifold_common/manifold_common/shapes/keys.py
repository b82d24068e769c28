"""Data keys and the master keys that wrap them. Never what is in one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, structs

from manifold_common.domain.keys import Kek, KeyRecord
from manifold_common.errors import ManifoldError
from manifold_common.ids import DekId, ProjectId, TenantId
from manifold_common.shapes.base import Answer, Count, Moment
from manifold_common.shapes.path import LISTED_PATHS, first_of


class MasterKey(Answer, frozen=True):
    """A master key (KEK), in one of its versions."""

    provider: str
    key_name: str
    key_version: Annotated[Count, Meta(description="0: it has none yet, or is no key that has versions.")]

    @classmethod
    def of(cls, kek: Kek | None) -> MasterKey | None:
        return None if kek is None else cls(**kek._asdict())


class DataKey(MasterKey, frozen=True):
    """A data key of a project, and the master key that it is wrapped under."""

    tenant: TenantId
    project: ProjectId
    key: Annotated[DekId, Meta(description="Its id.")]
    epoch: Annotated[Count, Meta(description="Which of the project's keys it is, in the order of making.")]
    created_at: Moment

    @classmethod
    def of_record(cls, record: KeyRecord) -> DataKey:
        return cls(
            **record.wrapped.kek._asdict(),
            tenant=record.tenant,
            project=record.project,
            key=record.dek,
            epoch=record.epoch,
            created_at=record.created_at,
        )


class FailedKey(DataKey, frozen=True):
    """A data key, and why something could not be done with it."""

    error: Annotated[str, Meta(description="Stable name of the error, for programs.")]
    message: str
    hint: str | None

    @classmethod
    def with_error(cls, record: KeyRecord, error: ManifoldError) -> FailedKey:
        facts = structs.asdict(DataKey.of_record(record))
        return cls(**facts, error=error.code, message=error.message, hint=error.hint)


class MasterKeyUse(MasterKey, frozen=True):
    keys: Annotated[Count, Meta(description="Data keys that it wraps.")]
    projects: Count
    current: Annotated[bool, Meta(description="New data keys are wrapped under it.")]


class RetirableVersions(Answer, frozen=True):
    """Versions of a master key that no data key needs."""

    provider: str
    key_name: str
    below: Annotated[Count, Meta(description="All versions below this one.")]


class KeyStatus(Answer, frozen=True):
    current: Annotated[
        MasterKey | None,
        Meta(description="Wraps new data keys. Null: they are not encrypted, or it is not known."),
    ]
    current_error: Annotated[str | None, Meta(description="Why that is not known.")]
    opened: Annotated[bool, Meta(description="Whether each key was tried.")]
    master_keys: Annotated[list[MasterKeyUse], Meta(description="Those that wrap data keys, in each version.")]
    not_current: Annotated[Count, Meta(description="Data keys that a rewrap would wrap anew.")]
    retirable: Annotated[list[RetirableVersions], Meta(description="What no data key needs any more.")]
    unreadable: Annotated[list[FailedKey], Meta(description="Data keys that could not be opened.")]
    keys: Annotated[list[DataKey], Meta(description="By tenant, project and id.")]


class RewrapPlan(Answer, frozen=True):
    """What a rewrap would do."""

    dry_run: bool
    current: MasterKey | None
    would_rewrap: list[DataKey]


class Rewrapped(Answer, frozen=True):
    current: Annotated[
        MasterKey | None, Meta(description="What data keys were wrapped under. Null: new projects are not encrypted.")
    ]
    rewrapped: Annotated[Count, Meta(description="How many.")]
    failed: Annotated[list[FailedKey], Meta(description=f"Those that stay as they were; at most {LISTED_PATHS}.")]
    failed_total: Count
    next: Annotated[
        str | None, Meta(description="Where the time was over: give it as `after` to go on. Null: the end was reached.")
    ]


def listed_failures(failed: Sequence[tuple[KeyRecord, ManifoldError]]) -> list[FailedKey]:
    """Return the first of them, as ``first_of``."""
    return list(map(_failed, first_of(failed, _text_bytes)))


def _failed(one: tuple[KeyRecord, ManifoldError]) -> FailedKey:
    return FailedKey.with_error(*one)


def _text_bytes(one: tuple[KeyRecord, ManifoldError]) -> int:
    return len(one[1].message) + len(one[1].hint or "")
