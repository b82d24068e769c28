"""Packs: a sealed object whose every frame but the last is a block."""

from __future__ import annotations

from manifold_common.format.places import Block, Container
from manifold_common.format.sealed import HEADER_BYTES, Payload, Sealer

PACK_TARGET_BYTES = 16 << 20
"""A pack is closed when the next block would make it larger."""

BLOCK_TARGET_BYTES = 256 << 10
"""Small chunks are put together until they are this long: measured on source trees, larger blocks compress hardly
better and make reading one file dearer."""


def build_pack(blocks: list[Payload], sealer: Sealer) -> bytearray:
    """Return the pack's bytes."""
    return sealer.seal_object(blocks)


def block_table(blocks: list[Payload], container: Container) -> list[Block]:
    """Return where each block stands in the pack that ``build_pack`` makes of them."""
    table = []
    offset = HEADER_BYTES
    for number, payload in enumerate(blocks):
        table.append(Block(container, number, offset, payload.stored_bytes, payload.raw_bytes))
        offset += payload.stored_bytes
    return table
