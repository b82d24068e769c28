"""What readers and writers of sealed objects need of keys: data keys do it all, granted keys a part."""

from __future__ import annotations

from typing import Protocol

from manifold_common.format.chunker import Chunker
from manifold_common.format.sealed import Opener, Seal, Sealer
from manifold_common.ids import DekId


class Openers(Protocol):
    def opener(self, seal: Seal) -> Opener:
        """Raises CorruptObject when the object names a key that is not among these."""


class Keyring(Openers, Protocol):
    """Opens what is stored, and seals what is new."""

    @property
    def chunker(self) -> Chunker: ...

    @property
    def write_dek(self) -> DekId:
        """The key that new objects name."""

    def sealer(self, seal: Seal) -> Sealer: ...
