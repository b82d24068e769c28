"""A master key that gets a new version when the one in use is old, and the data keys that follow it."""

from __future__ import annotations

import logging
from datetime import timedelta

from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.job import JobFilter, JobState
from manifold_common.ports.clock import Clock
from manifold_common.services.jobs.due import start_due
from manifold_common.services.jobs.jobs import Jobs
from manifold_common.services.keys.rewrap import Rewrap

_log = logging.getLogger(__name__)

TRIED_AGAIN_AFTER = timedelta(days=1)
"""Since a rewrap was started that stands still, or since one has failed."""


class Rotation:
    def __init__(self, rewrap: Rewrap, jobs: Jobs, clock: Clock, kek_days: int) -> None:
        """
        Args:
            kek_days: age at which a version is replaced; 0: never.
        """
        self._rewrap = rewrap
        self._jobs = jobs
        self._clock = clock
        self._longest = timedelta(days=kek_days)

    def keep(self) -> int:
        """Make a new version of the master key if its time has come, and start a rewrap if data keys are under others.

        Two processes that do so at once make two versions, which does no harm. Returns how many were begun.

        Raises KeyUnavailable, CatalogUnavailable.
        """
        if not self._longest:
            return 0
        rotated = self.rotate_if_due()
        if next(self._rewrap.pending(), None) is None or not (rotated or self._may_start()):
            return int(rotated)
        due_at = self._clock.now() - TRIED_AGAIN_AFTER
        return rotated + start_due(self._jobs, "rewrap", {}, due_at=due_at).is_new

    def _may_start(self) -> bool:
        """Tell whether no rewrap of everything has failed within the last day: that one names what was wrong, and
        another would only fail again."""
        since = self._clock.now() - TRIED_AGAIN_AFTER
        failed = self._jobs.page(LOCAL_PRINCIPAL, JobFilter([JobState.FAILED], "rewrap"))
        return not any(not job.params and job.ended_at is not None and job.ended_at > since for job in failed)

    def rotate_if_due(self) -> bool:
        """Returns whether a new version was made. Raises KeyUnavailable."""
        if not self._longest:
            return False
        made_at = self._rewrap.made_at()
        if made_at is None or self._clock.now() - made_at < self._longest:
            return False
        kek = self._rewrap.rotate()
        _log.info("the master key %s (%s) has version %d now", kek.key_name, kek.provider, kek.key_version)
        return True
