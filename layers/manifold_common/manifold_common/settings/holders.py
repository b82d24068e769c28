"""Which secrets a function may hold. Each has a secret of its own in AWS Secrets Manager; what is in it and not listed
here for that function is refused, so that whoever gets hold of one function gets nothing that it does not need.

``docs/functions-aws.md`` shows the same table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from manifold_common.settings.catalogue import describe_settings, file_variable
from manifold_common.settings.problem import Problem

_DATABASE: Final = frozenset({"databaseUrl", "databasePassword"})
_STORE: Final = frozenset({"projects.s3.secretAccessKey", "projects.s3.sessionToken"})
_KEYS: Final = frozenset({"projects.encryption.vault.token", "projects.encryption.vault.auth.secretId"})
_REDIS: Final = frozenset({"projects.redis.password"})
_RECEIVERS: Final = frozenset({"projects.events.webhooks.urls"})
"""``api`` shows how each does. Whether an event has been delivered to all is only ``fanout``'s to say."""
_SINKS: Final = _RECEIVERS | {"projects.events.sasl.password", "projects.events.webhooks.secret"}
_PROJECTS: Final = _DATABASE | _STORE | _KEYS

HELD: Final[Mapping[str, frozenset[str]]] = {
    "api": _PROJECTS | _REDIS | _RECEIVERS,
    "checkout": _PROJECTS | _REDIS,
    "commit": _PROJECTS | _REDIS,
    "fanout": _DATABASE | _SINKS,
    "reencrypt": _PROJECTS,
    "maintenance": _PROJECTS,
}
"""Keys of secret settings, by function."""


def holds_keys(function: str) -> bool:
    """Tell whether a function may hold what opens data keys."""
    return HELD[function] >= _KEYS


def not_held(function: str) -> frozenset[str]:
    """Return the keys of the secret settings that a function does without. Rules that ask for one are not for it."""
    return frozenset(setting.key for setting in describe_settings() if setting.secret) - HELD[function]


def strays(function: str, variables: Iterable[str]) -> list[Problem]:
    """Return a problem for each variable of a secret that its function must not hold."""
    given, absent = set(variables), not_held(function)
    return [
        Problem(
            f"secret ({name})",
            setting.key,
            f"the {function} function must not hold it",
            f"remove {name} from the secret of {function}",
        )
        for setting in describe_settings()
        if setting.key in absent
        for variable in (*setting.env, *setting.fallback)
        for name in (variable, file_variable(variable))
        if name in given
    ]
