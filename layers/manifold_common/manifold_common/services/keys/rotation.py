"""A master key that gets a new version when the one in use is old, and the data keys that follow it."""

from __future__ import annotations

import logging
from datetime import timedelta

from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.ports.clock import Clock
from manifold_common.services.jobs.jobs import Jobs
from manifold_common.services.keys.rewrap import Rewrap

_log = logging.getLogger(__name__)


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
        pending = next(self._rewrap.pending(), None)
        if pending is None or not self._jobs.start(LOCAL_PRINCIPAL, "rewrap", {}).is_new:
            return int(rotated)
        return rotated + 1

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
