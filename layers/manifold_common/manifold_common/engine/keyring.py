"""What readers and writers of sealed objects need of keys: data keys do it all, granted keys a part."""

from __future__ import annotations

from typing import Protocol

from manifold_common.format.chunker import Chunker
from manifold_common.format.sealed import Opener, Seal, Sealer
from manifold_common.ids import DekId


class Openers(Protocol):
    def trusts(self, dek: DekId) -> bool:
        """Tell whether an object under this key is taken for what it says it is. Unsealed ones of a project that is
        encrypted are not: their blocks have to be proven by the ids of their chunks, and the others do not count."""

    def keeps(self, dek: DekId) -> bool:
        """Tell whether copies of objects under this key may be kept on the disk."""

    @property
    def chunker(self) -> Chunker: ...

    def block_opener(self, seal: Seal) -> Opener:
        """Return what opens a container of blocks. Raises CorruptObject: it names a key that is not among these."""


class Keyring(Openers, Protocol):
    """Opens what is stored, and seals what is new."""

    @property
    def write_dek(self) -> DekId:
        """The key that new objects name."""

    def sealer(self, seal: Seal) -> Sealer: ...
