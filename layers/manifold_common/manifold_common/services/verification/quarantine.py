"""Damaged bytes are put aside before others take their place, and never deleted by Manifold.

Order of effects: the copy, then the replacement. Its name ends in a hash of the bytes, so whoever does it again, or at
the same time, makes no other copy.
"""

from __future__ import annotations

from blake3 import blake3

from manifold_common.errors import CorruptObject, ObjectNotFound
from manifold_common.format.layout import quarantine_key
from manifold_common.format.sealed import MAX_RAW_BYTES
from manifold_common.ports.object_store import Buffer, ObjectAccess

_DIGEST_BYTES = 16


def put_aside(store: ObjectAccess, key: str) -> str | None:
    """Keep what is stored under ``key`` elsewhere too; return where. ``None``: there is nothing.

    Raises:
        CorruptObject: there is more than an object can have.
    """
    data = _stored(store, key)
    return None if data is None else _keep(store, key, data)


def replace_object(store: ObjectAccess, key: str, good: Buffer) -> str | None:
    """Store ``good`` under ``key``, in place of what is there; return where that is kept. ``None``: there was nothing,
    or it is good already. Raises as ``put_aside``."""
    data = _stored(store, key)
    if data is not None and memoryview(data) == memoryview(good):
        return None
    kept = None if data is None else _keep(store, key, data)
    store.put(key, good)
    return kept


def _stored(store: ObjectAccess, key: str) -> Buffer | None:
    try:
        return store.get(key, max_bytes=MAX_RAW_BYTES)
    except ObjectNotFound:
        return None
    except CorruptObject:
        raise CorruptObject(
            key,
            f"it has over {MAX_RAW_BYTES} bytes, too many to be put aside",
            hint="move it away by the means of the store, and repair again",
        ) from None


def _keep(store: ObjectAccess, key: str, data: Buffer) -> str:
    kept = quarantine_key(key, blake3(data).hexdigest(_DIGEST_BYTES))
    store.put(kept, data)
    return kept
