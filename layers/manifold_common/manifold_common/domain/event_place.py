"""Places in the order of events, and whose events somebody reads."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from manifold_common.domain.moments import microseconds_of
from manifold_common.ids import ProjectId, TenantId


class EventPlace(NamedTuple):
    """Behind an event."""

    sequence: int
    written_at: int
    """When that event was written, in microseconds since 1970: another history gives the number to another event."""

    @classmethod
    def behind(cls, sequence: int, created_at: datetime) -> EventPlace:
        return cls(sequence, microseconds_of(created_at))


BEGINNING = EventPlace(0, 0)
"""Before the first event that there ever was."""


@dataclass(frozen=True, slots=True)
class Followed:
    """What somebody follows."""

    tenant: TenantId
    project: ProjectId | None
    """``None``: all of the tenant's."""
