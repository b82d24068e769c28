"""Makes the committed repository of format 1 in ``tests/compat/data``. Run it only to make data for a new version.

    python -m tests.compat.generate FOLDER

Keys, ids and times are fixed, so that a second run gives the same bytes (with the same zstd).
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from manifold_common.adapters.keyfile.provider import FileKeyProvider
from manifold_common.adapters.memory.clock import ManualClock, SeededRandomness
from manifold_common.domain.keys import KeyContext, KeyRecord, WrappedKey
from manifold_common.domain.tree import FILE, SYMLINK, Changes, Entry, Tree, apply, directory
from manifold_common.format.chunker import WHOLE_FILE_BYTES, Chunker
from manifold_common.format.commit_object import (
    FIRST_INLINE_FRAME,
    CheckpointMeta,
    CommitMeta,
    build_checkpoint,
    build_commit,
)
from manifold_common.format.key_record import KeyMaterial, encode_key_record, pack_material
from manifold_common.format.layout import wrapped_key_key
from manifold_common.format.pack import BLOCK_TARGET_BYTES, block_table, build_pack
from manifold_common.format.places import Block, Container, Place, Places
from manifold_common.format.sealed import ObjectKind, Payload, Sealer
from manifold_common.ids import (
    DEFAULT_TENANT,
    PLAIN,
    ChunkId,
    CommitId,
    DekId,
    Generation,
    ObjectId,
    ProjectId,
    encode_id,
)

DATA = Path(__file__).with_name("data")
START_NS = 1_767_225_600_000_000_000
NOT_UTF8 = b"caf\xe9 \xff\xfe.txt"


class Writer:
    """One project, written with the functions of the format alone."""

    def __init__(self, repository: Repository, deks: list[DekId], id_key: bytes) -> None:
        self.repository = repository
        self.project = ProjectId(repository.new_id())
        self.id_key = id_key
        self.deks = deks
        self.chunker = Chunker(id_key)
        self.tree: Tree = {}
        self.places: Places = {}
        self.generation = 0
        self.commit, self.record_hash = "", b""
        self.generations: list[dict[str, Any]] = []
        for dek in deks:
            repository.put_key(self.project, dek, id_key)

    @property
    def dek(self) -> DekId:
        return self.deks[-1]

    def rotate(self) -> None:
        self.deks.append(self.repository.new_dek())
        self.repository.put_key(self.project, self.dek, self.id_key)

    def chunks_of(self, content: bytes) -> list[bytes]:
        if len(content) <= WHOLE_FILE_BYTES:
            return [content] if content else []
        rest = memoryview(content)

        def readinto(buffer: memoryview) -> int:
            nonlocal rest
            count = min(len(buffer), len(rest))
            buffer[:count] = rest[:count]
            rest = rest[count:]
            return count

        return [bytes(chunk) for chunk in self.chunker.cut(readinto)]

    def write(
        self,
        files: Mapping[bytes, tuple[int, bytes]],
        others: Mapping[bytes, Entry],
        deletes: set[bytes],
        *,
        pack: bool,
    ) -> None:
        """Commit files (path: mode and content), folders and links, and deletes."""
        blocks: list[bytes] = []
        new: dict[ChunkId, tuple[int, int, int]] = {}
        upserts = dict(others)
        for number, (path, (mode, content)) in enumerate(sorted(files.items())):
            ids = []
            for data in self.chunks_of(content):
                chunk = self.chunker.chunk_id(data)
                ids.append(chunk)
                if chunk in self.places or chunk in new:
                    continue
                if not blocks or len(blocks[-1]) + len(data) > BLOCK_TARGET_BYTES:
                    blocks.append(b"")
                new[chunk] = (len(blocks) - 1, len(blocks[-1]), len(data))
                blocks[-1] += data
            upserts[path] = Entry(FILE, mode, self._time_ns() + number, len(content), b"".join(ids))
        payloads = [Payload.of(raw) for raw in blocks]
        commit = CommitId(self.repository.new_id())
        generation = Generation(self.generation + 1)
        own = Container(
            DEFAULT_TENANT,
            self.project,
            ObjectKind.COMMIT,
            generation,
            commit,
            ObjectId(self.repository.new_id()),
            self.dek,
        )
        table = self._pack(payloads) if pack else self._inline(payloads, own)
        places = self.places | {chunk: Place(table[n], at, length) for chunk, (n, at, length) in new.items()}
        meta = CommitMeta(
            DEFAULT_TENANT,
            self.project,
            generation,
            commit,
            self.commit,
            self.record_hash,
            author="local",
            session="night-shift" if generation > 1 else "",
            time_ns=self._time_ns(),
            message=f"generation {generation} \u2013 déjà vu",
            provenance={"agent_run": {"model": "m", "cost": 0.25, "tools": ["edit", None, True, -3]}},
        )
        changes = Changes(upserts, deletes)
        seal = own.seal()
        built = build_commit(
            meta, changes, places, [] if pack else payloads, own, self.repository.sealer(own), self.id_key
        )
        self.repository.put(seal.key, built.data)
        apply(self.tree, changes)
        self.places.update(built.places)
        self.generation, self.commit, self.record_hash = generation, commit, built.record_hash
        self.generations.append(
            {
                "generation": generation,
                "commit": commit,
                "record_hash": built.record_hash.hex(),
                "tree": {path.hex(): self.repository.shown(entry) for path, entry in sorted(self.tree.items())},
            }
        )

    def _time_ns(self) -> int:
        return START_NS + self.generation * 1_000_000_007

    def _inline(self, payloads: list[Payload], own: Container) -> list[Block]:
        return [
            Block(own, FIRST_INLINE_FRAME + number, 0, payload.stored_bytes, payload.raw_bytes)
            for number, payload in enumerate(payloads)
        ]

    def _pack(self, payloads: list[Payload]) -> list[Block]:
        pack = ObjectId(self.repository.new_id())
        container = Container(DEFAULT_TENANT, self.project, ObjectKind.PACK, Generation(0), pack, pack, self.dek)
        self.repository.put(container.seal().key, build_pack(payloads, self.repository.sealer(container)))
        return block_table(payloads, container)

    def checkpoint(self) -> None:
        own = Container(
            DEFAULT_TENANT,
            self.project,
            ObjectKind.CHECKPOINT,
            Generation(self.generation),
            self.commit,
            ObjectId(self.repository.new_id()),
            self.dek,
        )
        meta = CheckpointMeta(
            DEFAULT_TENANT, self.project, self.generation, self.commit, self.record_hash, self._time_ns()
        )
        data = build_checkpoint(meta, Changes(self.tree, set()), self.places, self.repository.sealer(own))
        self.repository.put(own.seal().key, data)
        self.generations[-1]["checkpoint"] = True

    def described(self) -> dict[str, Any]:
        return {"tenant": DEFAULT_TENANT, "project": self.project, "generations": self.generations}


class Repository:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._randomness = SeededRandomness(1)
        self._clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
        self._provider = FileKeyProvider(folder / "keystore", clock=self._clock, randomness=self._randomness)
        self._deks: dict[DekId, bytes | None] = {PLAIN: None}
        self._contents: dict[bytes, bytes] = {}

    def new_id(self) -> str:
        return encode_id(self._randomness.token(16))

    def new_dek(self) -> DekId:
        dek = DekId(self.new_id())
        self._deks[dek] = self._randomness.token(32)
        return dek

    def token(self, size: int) -> bytes:
        return self._randomness.token(size)

    def sealer(self, container: Container) -> Sealer:
        return Sealer(container.seal(), self._deks[container.dek])

    def put(self, key: str, data: bytes | bytearray) -> None:
        path = self._folder / "store" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def put_key(self, project: ProjectId, dek: DekId, id_key: bytes) -> None:
        context = KeyContext(DEFAULT_TENANT, project, dek)
        material = pack_material(KeyMaterial(id_key, self._deks[dek]))
        wrapped = WrappedKey("none", "", 0, material) if dek == PLAIN else self._provider.wrap(material, context)
        record = KeyRecord(DEFAULT_TENANT, project, dek, wrapped, self._clock.now())
        self.put(wrapped_key_key(DEFAULT_TENANT, project, dek), encode_key_record(record))

    def remember(self, writer: Writer, content: bytes) -> None:
        joined = b"".join(writer.chunker.chunk_id(data) for data in writer.chunks_of(content))
        self._contents[joined] = content

    def shown(self, entry: Entry) -> list[Any]:
        """Return [kind, mode, mtime, SHA-256 of the content, or the target in hex]."""
        what = entry.content.hex()
        if entry.kind == FILE:
            what = hashlib.sha256(self._contents[entry.content]).hexdigest()
        return [entry.kind, entry.mode, entry.mtime_ns, what]


def _link(target: bytes) -> Entry:
    return Entry(SYMLINK, 0o777, START_NS - 1, 0, target)


def _log_file() -> bytes:
    """Return 9 MiB that zstd makes small: pages that differ in a number."""
    page = b"".join(b"%04d the quick brown fox jumps over the lazy dog\n" % line for line in range(80))[:4088]
    return b"".join(b"%07d\n" % number + page for number in range(9 * 256))


def _write_history(repository: Repository, writer: Writer) -> None:
    """Four generations that use everything the format has."""
    readme, script = b"# Compat\n" * 40, b"#!/bin/sh\necho hello\n"
    random, log = repository.token(20_000), _log_file()
    for content in (b"", readme, script, random, log, readme + b"more\n", b"now a file\n", b"name\n"):
        repository.remember(writer, content)
    writer.write(
        {
            b"README.md": (0o644, readme),
            b"copy of README": (0o600, readme),
            b"bin/run": (0o755, script),
            b"empty": (0o644, b""),
            b"turns/into/file": (0o644, script),
            NOT_UTF8: (0o644, b"name\n"),
        },
        {
            b"": directory(START_NS, 0o750),
            b"bin": directory(START_NS + 1),
            b"empty folder": directory(-1, 0o700),
            b"turns": directory(START_NS + 2),
            b"turns/into": directory(START_NS + 3),
            b"dangling": _link(b"/no/such/\xfe/place"),
            b"link": _link(b"bin/run"),
            b"turns-away": _link(b"../outside"),
        },
        set(),
        pack=False,
    )
    writer.write(
        {b"data/log.txt": (0o644, log), b"data/random.bin": (0o444, random)},
        {b"data": directory(START_NS + 4)},
        set(),
        pack=True,
    )
    if writer.dek != PLAIN:
        writer.rotate()
    writer.write(
        {b"moved/run": (0o755, script), b"turns": (0o644, b"now a file\n")},
        {b"moved": directory(START_NS + 5), b"empty": directory(START_NS + 6), b"link": _link(b"moved/run")},
        {b"bin", b"bin/run", b"turns/into", b"turns/into/file"},
        pack=False,
    )
    writer.checkpoint()
    writer.write(
        {b"README.md": (0o640, readme + b"more\n")}, {b"": directory(START_NS + 7, 0o755)}, {b"dangling"}, pack=False
    )


def generate(folder: Path) -> None:
    repository = Repository(folder)
    sealed = Writer(repository, [repository.new_dek()], repository.token(32))
    _write_history(repository, sealed)

    fork = Writer(repository, [*sealed.deks, repository.new_dek()], sealed.id_key)
    fork.places.update(sealed.places)
    fork_new = b"only in the fork\n"
    repository.remember(fork, fork_new)
    fork.write({}, sealed.tree, set(), pack=False)
    fork.write({b"data/fork.txt": (0o644, fork_new)}, {}, {b"data/random.bin"}, pack=False)
    fork.checkpoint()

    plain = Writer(repository, [PLAIN], repository.token(32))
    _write_history(repository, plain)
    projects = {"sealed": sealed.described(), "fork": fork.described(), "plain": plain.described()}
    (folder / "keystore" / "~lock").unlink()
    (folder / "expected.json").write_text(json.dumps(projects, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else DATA)
