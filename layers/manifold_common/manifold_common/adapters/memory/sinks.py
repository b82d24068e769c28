"""How the sinks do, in memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from manifold_common.ports.outbox import SinkReport, SinkState


@dataclass(slots=True)
class Sink:
    state: SinkState
    probe: str | None = None
    probing_until: datetime | None = None

    @property
    def is_failing(self) -> bool:
        return self.state.failures > 0 or self.state.parked_at is not None

    def is_closed(self, now: datetime) -> bool:
        later = (self.state.retry_at, self.probing_until)
        return self.state.parked_at is not None or any(moment is not None and moment > now for moment in later)

    def judge(self, how: SinkReport, lease: str, now: datetime) -> None:
        was = state = self.state
        late = was.failed_at is not None and was.failed_at >= how.claimed_at
        if how.answered:
            state = replace(state, ok_at=now)
        if how.error is not None:
            again = 1 if how.answered else was.failures + 1
            state = replace(
                state,
                failures=max(was.failures, 1) if late else again,
                failed_at=now,
                retry_at=max((at for at in (was.retry_at, how.retry_at) if at is not None), default=None),
                parked_at=was.parked_at or (now if how.park else None),
                error=how.error,
            )
        elif how.answered and (self.probe == lease or not late):
            state = replace(state, failures=0, retry_at=None, error=None)
        if was.since is None or (was.failures > 0) != (state.failures > 0):
            state = replace(state, since=now)
        self.state = state

    def redrive(self) -> bool:
        """Return whether there was anything to let go on."""
        was = self.is_failing
        self.state = replace(self.state, parked_at=None, retry_at=None)
        self.probe = self.probing_until = None
        return was
