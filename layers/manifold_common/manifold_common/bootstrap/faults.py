"""Finds the settings that adapters would refuse, without connecting to anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from manifold_common.bootstrap.adapters import (
    build_generation_cache,
    build_key_providers,
    check_database_url,
)
from manifold_common.bootstrap.sinks import sink_checks
from manifold_common.bootstrap.stores import build_links
from manifold_common.errors import ConfigError

if TYPE_CHECKING:
    from manifold_common.settings import Settings


def find_faults(settings: Settings) -> list[ConfigError]:
    """Return an error for each part of ``settings`` that no adapter can work with. Certificate files are read."""
    from manifold_common.adapters.system.clock import SystemClock, SystemRandomness

    clock, randomness = SystemClock(), SystemRandomness()
    parts: dict[str, Callable[[], object]] = {
        "databaseUrl": lambda: check_database_url(settings),
        "projects.s3": lambda: build_links(settings, clock),
        "projects.encryption": lambda: build_key_providers(settings, clock, randomness),
        "projects.redis": lambda: build_generation_cache(settings, clock, randomness),
        **sink_checks(settings),
    }
    faults: list[ConfigError] = []
    for name, part in parts.items():
        try:
            part()
        except ConfigError as error:
            faults.append(error)
        except OSError as error:
            file = error.filename or "a file of certificates"
            faults.append(ConfigError(f"{name}: {file} cannot be used: {error.strerror or type(error).__name__}"))
    return faults
