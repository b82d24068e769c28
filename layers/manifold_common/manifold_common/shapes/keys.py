"""Data keys and the master keys that wrap them. Never what is in one."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, structs

from manifold_common.domain.keys import Kek, KeyRecord
from manifold_common.errors import ManifoldError
from manifold_common.ids import DekId, ProjectId, TenantId
from manifold_common.shapes.base import Answer, Count, Moment
from manifold_common.shapes.jobs import Job


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
    current: Annotated[MasterKey | None, Meta(description="What the data keys would be wrapped under.")]
    projects: Annotated[Count, Meta(description="Whose data keys these are.")]
    requests: Annotated[
        dict[str, Count], Meta(description="How many requests it takes, by key provider, where none is repeated.")
    ]
    would_rewrap: list[DataKey]


class Rotated(Answer, frozen=True):
    before: Annotated[MasterKey, Meta(description="What data keys were wrapped under.")]
    current: Annotated[MasterKey, Meta(description="What they are wrapped under from now on.")]


class Rewrapped(Answer, frozen=True):
    """A rewrap, as a job. Where keys could not be wrapped anew, the job's troubles say why."""

    current: Annotated[MasterKey, Meta(description="What data keys are wrapped under.")]
    job: Job


class Reencrypted(Answer, frozen=True):
    """What one invocation of the function ``reencrypt`` did."""

    current: Annotated[
        MasterKey | None, Meta(description="What data keys are wrapped under. Null: new projects are not encrypted.")
    ]
    job: Annotated[Job | None, Meta(description="The rewrap, as it stands. Null: no key needed one.")]
    finished: Annotated[Count, Meta(description="Items of all jobs about keys that came to an end.")]
