"""Values for settings."""

from __future__ import annotations

import re

from manifold_common.settings import Setting

_SAMPLES = {
    "secret": "postgresql://u:p@h/db?long=enough-for-every-rule",
    "text": "abc",
    "path": "/some/path",
    "URL": "https://example.com",
    "host:port": "h:1",
    "list of host:port": "h:1,i:2",
    "list of secret URLs": "https://example.com/hook",
    "list of networks": "10.0.0.0/8,::1",
    "list": "a,b",
    "true/false": "true",
    "size": "32MiB",
}


def sample(setting: Setting) -> str:
    """Return a value that the setting takes, as a variable would hold it; of a number, the least but 0."""
    if setting.choices:
        return setting.choices[-1]
    least = re.match(r"at least (\d+)", setting.limits)
    return _SAMPLES.get(setting.type) or (least[1] if least and least[1] != "0" else "1")
