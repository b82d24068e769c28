"""Computes the golden vectors of format 1.

python -m tests.compat.golden        prints them, to be kept in golden.json with the first release of a version
"""

from __future__ import annotations

import io
import json
import random
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from manifold_common.domain.keys import KeyContext, KeyRecord, WrappedKey
from manifold_common.domain.tree import FILE, SYMLINK, Changes, Entry, directory
from manifold_common.format.buffers import Buffer
from manifold_common.format.chunker import Chunker
from manifold_common.format.commit_object import (
    CheckpointMeta,
    CommitMeta,
    build_checkpoint,
    build_commit,
    record_hash,
)
from manifold_common.format.compression import STORED, ZSTD
from manifold_common.format.key_record import (
    KeyMaterial,
    PlainPast,
    encode_key_record,
    hash_history,
    pack_material,
)
from manifold_common.format.layout import checkpoint_key, commit_key, note_key, pack_key, wrapped_key_key
from manifold_common.format.places import Block, Container, Place, Places
from manifold_common.format.sealed import ObjectKind, Opener, Payload, Seal, Sealer
from manifold_common.ids import PLAIN, CommitId, DekId, Generation, ObjectId, ProjectId, TenantId, encode_id

TENANT = TenantId("acme")
PROJECT = ProjectId(encode_id(bytes(range(16))))
OTHER_PROJECT = ProjectId(encode_id(bytes(range(16, 32))))
COMMIT = CommitId(encode_id(b"commit commit co"))
PARENT = CommitId(encode_id(b"parent parent pa"))
OBJECT = ObjectId(encode_id(b"object object ob"))
DEK_ID = DekId(encode_id(b"dek dek dek dek "))
DEK = bytes(range(100, 132))
ID_KEY = bytes(range(200, 232))
DEKS = {"plain": PLAIN, "aes": DEK_ID}
ZSTD_OF_64_A = bytes.fromhex("28b52ffd20404500001061610100930016")
"""What zstd made of 64 times "a" once: vectors do not depend on the release of zstd."""


def key_of(kind: ObjectKind) -> str:
    return {
        ObjectKind.PACK: pack_key(TENANT, PROJECT, OBJECT),
        ObjectKind.COMMIT: commit_key(TENANT, PROJECT, Generation(7), COMMIT),
        ObjectKind.CHECKPOINT: checkpoint_key(TENANT, PROJECT, Generation(7), COMMIT),
        ObjectKind.NOTE: note_key(TENANT, PROJECT, COMMIT),
    }[kind]


def seal_of(kind: ObjectKind, dek: DekId = DEK_ID) -> Seal:
    return Seal(kind, key_of(kind), OBJECT, dek)


def sealer(seal: Seal) -> Sealer:
    return Sealer(seal, None if seal.dek == PLAIN else DEK)


def opener(seal: Seal) -> Opener:
    return Opener(seal, None if seal.dek == PLAIN else DEK)


def sealed_vectors() -> dict[str, str]:
    payloads = [Payload(STORED, 5, b"hello"), Payload(ZSTD, 64, ZSTD_OF_64_A), Payload(STORED, 1, b"\0")]
    return {
        f"{kind.name.lower()}/{suite}": sealer(seal_of(kind, dek)).seal_object(payloads).hex()
        for kind in ObjectKind
        for suite, dek in DEKS.items()
    }


def own(kind: ObjectKind, dek: DekId = DEK_ID) -> Container:
    return Container(TENANT, PROJECT, kind, Generation(7), COMMIT, OBJECT, dek)


def sample_changes() -> tuple[Changes, Places, list[Payload]]:
    """One of everything: inline, in a pack, in another commit, and in another project's pack."""
    chunker = Chunker(ID_KEY)
    inline = [Payload(STORED, 12, b"first second"), Payload(ZSTD, 64, ZSTD_OF_64_A)]
    first, second, third = (chunker.chunk_id(data) for data in (b"first ", b"second", b"a" * 64))
    packed, elsewhere, foreign = (chunker.chunk_id(data) for data in (b"packed", b"elsewhere", b"foreign"))
    pack = ObjectId(encode_id(b"pack pack pack p"))
    containers = [
        Container(TENANT, PROJECT, ObjectKind.PACK, Generation(0), pack, pack, DEK_ID),
        Container(TENANT, PROJECT, ObjectKind.COMMIT, Generation(3), PARENT, OBJECT, DEK_ID),
        Container(TENANT, OTHER_PROJECT, ObjectKind.PACK, Generation(0), pack, pack, PLAIN),
    ]
    here = own(ObjectKind.COMMIT)
    blocks = [
        Block(here, 2 + number, 0, payload.stored_bytes, payload.raw_bytes) for number, payload in enumerate(inline)
    ]
    places = {
        first: Place(blocks[0], 0, 6),
        second: Place(blocks[0], 6, 6),
        third: Place(blocks[1], 0, 64),
        packed: Place(Block(containers[0], 0, 40, 1000, 70_000), 11, 6),
        elsewhere: Place(Block(containers[1], 2, 2**33, 90, 100), 0, 9),
        foreign: Place(Block(containers[2], 4_000_000_000, 41, 4_194_328, 4_194_304), 4_194_297, 7),
    }
    upserts = {
        b"": directory(0, 0o700),
        b"a folder": directory(-5),
        b"a folder/big": Entry(FILE, 0o644, 2**62, 21, second + packed + elsewhere),
        b"caf\xe9": Entry(FILE, 0o755, 1_700_000_000_123_456_789, 64, third),
        b"empty": Entry(FILE, 0o600, 0, 0, b""),
        b"foreign": Entry(FILE, 0o444, 1, 13, first + foreign),
        b"link": Entry(SYMLINK, 0o777, 2, 0, b"../\xff"),
    }
    return Changes(upserts, {b"gone", b"gone/too"}), places, inline


def commit_meta() -> CommitMeta:
    return CommitMeta(
        TENANT,
        PROJECT,
        7,
        COMMIT,
        PARENT,
        bytes(range(32)),
        author="ada@example.org",
        session="s-1",
        time_ns=1_767_225_600_000_000_001,
        message="déjà vu",
        provenance={"run": "r1", "cost": 0.5, "tools": [{"name": "sh", "calls": 3, "ok": True, "error": None}]},
    )


def checkpoint_meta() -> CheckpointMeta:
    return CheckpointMeta(TENANT, PROJECT, 7, COMMIT, bytes(range(32)), 5)


def commit_object() -> bytes:
    changes, places, inline = sample_changes()
    return bytes(
        build_commit(
            commit_meta(), changes, places, inline, own(ObjectKind.COMMIT), sealer(seal_of(ObjectKind.COMMIT)), ID_KEY
        ).data
    )


def checkpoint_object() -> bytes:
    changes, places, _ = sample_changes()
    for chunk, place in places.items():
        if place.block.container == own(ObjectKind.COMMIT):
            places[chunk] = place._replace(block=place.block._replace(offset=500))
    seal = seal_of(ObjectKind.CHECKPOINT)
    return bytes(build_checkpoint(checkpoint_meta(), Changes(changes.upserts, set()), places, sealer(seal)))


def description(kind: ObjectKind, data: bytes) -> list[bytes]:
    """Return the raw bytes of an object's frames: they do not depend on the release of zstd."""
    reader = opener(seal_of(kind))
    return [bytes(reader.open_frame(number, frame)) for number, (_, frame) in enumerate(reader.split(data))]


def boundaries(id_key: Buffer) -> list[int]:
    """Return the lengths of the chunks of 12 MiB of random bytes."""
    content = io.BytesIO(random.Random(7).randbytes(12 << 20))
    return [len(chunk) for chunk in Chunker(id_key).cut(content.readinto)]


def past() -> PlainPast:
    return PlainPast(2, hash_history([b"h" * 32, b"i" * 32]), (b"e" * 32, b"f" * 32))


def vectors() -> dict[str, Any]:
    record = KeyRecord(
        TENANT, PROJECT, DEK_ID, WrappedKey("vault", "kek", 3, b"wrapped"), datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    )
    return {
        "keys": [key_of(kind) for kind in ObjectKind] + [wrapped_key_key(TENANT, PROJECT, DEK_ID)],
        "sealed": sealed_vectors(),
        "commit frames": [raw.hex() for raw in description(ObjectKind.COMMIT, commit_object())],
        "checkpoint frames": [raw.hex() for raw in description(ObjectKind.CHECKPOINT, checkpoint_object())],
        "record hash": record_hash(ID_KEY, b"record").hex(),
        "chunk id": Chunker(ID_KEY).chunk_id(b"chunk").hex(),
        "boundaries": {key.hex(): boundaries(key) for key in (ID_KEY, b"\2" * 32)},
        "key record": encode_key_record(record).hex(),
        "key material": pack_material(KeyMaterial(ID_KEY, DEK)).hex(),
        "key binding": KeyContext(TENANT, PROJECT, DEK_ID).binding("file", "default", 2).hex(),
        "key record 2": encode_key_record(replace(record, epoch=3)).hex(),
        "key material 2": pack_material(KeyMaterial(ID_KEY, DEK, past()), 3).hex(),
        "key binding 2": KeyContext(TENANT, PROJECT, DEK_ID, 3).binding("file", "default", 2).hex(),
    }


if __name__ == "__main__":
    print(json.dumps(vectors(), indent=1))
