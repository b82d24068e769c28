"""What Manifold's token may do in Vault, as ``configs/vault`` has it for other Vaults.

The policy is also what remembers the keys of earlier settings: they unwrap what they wrapped, and wrap nothing new.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_KEY = """\
path "{mount}/encrypt/{key}" {{ capabilities = ["update"] }}
path "{mount}/keys/{key}/rotate" {{ capabilities = ["update"] }}
"""
_FORMER_KEY = """\
path "{mount}/decrypt/{key}" {{ capabilities = ["update"] }}
path "{mount}/rewrap/{key}" {{ capabilities = ["update"] }}
path "{mount}/keys/{key}" {{ capabilities = ["read"] }}
"""
_OWN_RULES = """\
path "auth/token/lookup-self" { capabilities = ["read"] }
path "auth/token/renew-self" { capabilities = ["update"] }
"""
_DECRYPT = re.compile(r'^path "[^"]*/decrypt/([^"]+)"', re.MULTILINE)


def policy_text(mount: str, key: str, known: Iterable[str]) -> str:
    """Return the policy for ``key``, under which the keys ``known`` from before go on to unwrap."""
    every = sorted({key, *known})
    rules = [_KEY.format(mount=mount, key=key), *(_FORMER_KEY.format(mount=mount, key=name) for name in every)]
    return "".join([*rules, _OWN_RULES])


def keys_of(policy: str) -> set[str]:
    """Return the names of the keys that a policy lets unwrap, whichever mount they were in."""
    return set(_DECRYPT.findall(policy))
