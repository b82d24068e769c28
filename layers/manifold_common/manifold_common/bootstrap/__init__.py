"""Where settings become objects: the only importer of adapters."""

from __future__ import annotations

from manifold_common.bootstrap.adapters import (
    build_catalog,
    build_generation_cache,
    build_key_providers,
    client_environment,
    migrate_catalog,
    role_script,
    set_up_roles,
    shares_sessions,
)
from manifold_common.bootstrap.faults import find_faults
from manifold_common.bootstrap.functions import anew, build_function, build_nudge_queue, load_function_settings
from manifold_common.bootstrap.relays import build_relays
from manifold_common.bootstrap.services import Manifold
from manifold_common.bootstrap.sinks import event_sinks
from manifold_common.bootstrap.stores import (
    build_impatient_store,
    build_links,
    build_served_store,
    build_store,
    prepare_store,
)
from manifold_common.bootstrap.wiring import assemble, build
from manifold_common.ports.nudge_queue import NudgeQueue

__all__ = [
    "Manifold",
    "NudgeQueue",
    "anew",
    "assemble",
    "build",
    "build_catalog",
    "build_function",
    "build_generation_cache",
    "build_impatient_store",
    "build_key_providers",
    "build_links",
    "build_nudge_queue",
    "build_relays",
    "build_served_store",
    "build_store",
    "client_environment",
    "event_sinks",
    "find_faults",
    "load_function_settings",
    "migrate_catalog",
    "shares_sessions",
    "prepare_store",
    "role_script",
    "set_up_roles",
]
