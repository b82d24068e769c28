"""What readers and writers of sealed objects need of keys: data keys do it all, granted keys a part."""

from __future__ import annotations

from typing import Protocol

from manifold_common.format.chunker import Chunker
from manifold_common.format.sealed import Opener, Seal, Sealer
from manifold_common.ids import DekId


class Openers(Protocol):
    @property
    def distrusts_plain(self) -> bool:
        """Whether unsealed bytes have to be proven by the ids of their chunks."""

    @property
    def keeps_plain(self) -> bool:
        """Whether copies of unsealed objects may be kept on the disk."""

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
