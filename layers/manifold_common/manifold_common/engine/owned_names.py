"""Names of packs that say whose they are, so that whoever removes one need not believe who names it.

Half of such a name is random, and the other half vouches for that and for its owner, by a key of the project: nobody
who lacks the key makes a name that belongs to another owner, or makes another's his own.
"""

from __future__ import annotations

from hmac import compare_digest

from blake3 import blake3

from manifold_common.engine.data_keys import ProjectKeys
from manifold_common.errors import InvalidInput
from manifold_common.ids import ID_BYTES, ObjectId, decode_id, encode_id
from manifold_common.ports.clock import Randomness

_CONTEXT = "manifold/v1 owner of a name"
_HALF = ID_BYTES // 2


def owned_name(keys: ProjectKeys, randomness: Randomness, owner: str) -> ObjectId:
    """Return a new name that belongs to ``owner``, which is unique in the project and its forks."""
    begin = randomness.token(_HALF)
    return ObjectId(encode_id(begin + _proof(keys, begin, owner)))


def is_owned(keys: ProjectKeys, name: str, owner: str) -> bool:
    try:
        raw = decode_id(name)
    except InvalidInput:
        return False
    return compare_digest(raw[_HALF:], _proof(keys, raw[:_HALF], owner))


def _proof(keys: ProjectKeys, begin: bytes, owner: str) -> bytes:
    key = blake3(keys.id_key, derive_key_context=_CONTEXT).digest()
    return blake3(begin + owner.encode(), key=key).digest(_HALF)
