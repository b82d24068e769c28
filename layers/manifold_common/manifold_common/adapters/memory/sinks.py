"""How the sinks do, in memory."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from manifold_common.ports.outbox import SinkReport, SinkState


@dataclass(slots=True)
class Sink:
    failures: int = 0
    since: datetime | None = None
    ok_at: datetime | None = None
    failed_at: datetime | None = None
    retry_at: datetime | None = None
    parked_at: datetime | None = None
    error: str | None = None
    probe: str | None = None
    probing_until: datetime | None = None

    @property
    def is_failing(self) -> bool:
        return self.failures > 0 or self.parked_at is not None

    def is_closed(self, now: datetime) -> bool:
        later = (self.retry_at, self.probing_until)
        return self.parked_at is not None or any(moment is not None and moment > now for moment in later)

    def judge(self, how: SinkReport, lease: str, now: datetime) -> None:
        was_probe, was_failing = self.probe == lease, self.failures > 0
        if how.answered:
            self.ok_at = now
        if how.error is not None:
            late = self.failed_at is not None and self.failed_at >= how.claimed_at
            if late:
                self.failures = max(self.failures, 1)
            else:
                self.failures = 1 if how.answered else self.failures + 1
            self.failed_at, self.error = now, how.error
            self.retry_at = max((at for at in (self.retry_at, how.retry_at) if at is not None), default=None)
            self.parked_at = self.parked_at or (now if how.park else None)
        elif how.answered and (was_probe or self.failed_at is None or self.failed_at < how.claimed_at):
            self.failures, self.error, self.retry_at = 0, None, None
        if self.since is None or was_failing != (self.failures > 0):
            self.since = now

    def redrive(self) -> bool:
        """Return whether there was anything to let go on."""
        was = self.is_failing
        self.parked_at = self.retry_at = self.probe = self.probing_until = None
        return was

    def state(self, name: str) -> SinkState:
        return SinkState(
            name,
            self.failures,
            since=self.since,
            ok_at=self.ok_at,
            failed_at=self.failed_at,
            retry_at=self.retry_at,
            parked_at=self.parked_at,
            error=self.error,
        )
