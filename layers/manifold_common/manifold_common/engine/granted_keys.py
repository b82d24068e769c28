"""Keys of single objects, as a server grants them: no data key is among them."""

from __future__ import annotations

from typing import NoReturn

from manifold_common.errors import CorruptObject, InternalError
from manifold_common.format.chunker import Chunker
from manifold_common.format.sealed import Opener, Seal, Sealer
from manifold_common.ids import PLAIN, DekId, ObjectId


class GrantedKeys:
    """A ``Keyring`` that grows as grants come in. Never shown, never pickled."""

    def __init__(self) -> None:
        self._keys: dict[ObjectId, bytes] = {}
        self._id_key: bytes | None = None
        self._chunker: Chunker | None = None
        self._has_sealed = False
        self.write_dek: DekId = PLAIN

    def __repr__(self) -> str:
        return f"GrantedKeys({len(self._keys)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("keys are not to be pickled")

    def name_chunks_with(self, id_key: bytes) -> None:
        """Take the key that names chunks, which whoever compares or writes content needs."""
        if id_key != self._id_key:
            self._id_key, self._chunker = id_key, Chunker(id_key)

    @property
    def id_key(self) -> bytes:
        if self._id_key is None:
            raise InternalError("no key to name chunks with was granted")
        return self._id_key

    @property
    def chunker(self) -> Chunker:
        if self._chunker is None:
            raise InternalError("no key to name chunks with was granted")
        return self._chunker

    def keeps(self, dek: DekId) -> bool:
        return dek != PLAIN or not self._has_sealed

    def grant(self, object_id: ObjectId, object_key: bytes) -> None:
        self._keys[object_id] = object_key
        self._has_sealed = self._has_sealed or bool(object_key)

    def trusts(self, dek: DekId) -> bool:
        """Only what is sealed: a client is not told whether what it reads may be unsealed."""
        return dek != PLAIN

    def opener(self, seal: Seal) -> Opener:
        return Opener(seal, object_key=self._key(seal))

    block_opener = opener

    def sealer(self, seal: Seal) -> Sealer:
        return Sealer(seal, object_key=self._key(seal))

    def _key(self, seal: Seal) -> bytes:
        key = self._keys.get(seal.object_id)
        if key is None:
            raise CorruptObject(
                seal.key, "the server has given no key for it", hint="check out again: its copy may have been replaced"
            )
        return key
