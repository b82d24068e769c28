"""A reader of format 1 written from docs/format-v1.md alone: it shares no line with Manifold.

    python tests/compat/independent_reader.py STORE KEYSTORE TENANT PROJECT GENERATION COMMIT

prints the tree of one commit. Where the document says "refuse", it raises ``Refused``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import math
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KINDS = {1: "pack", 2: "commit", 3: "checkpoint", 4: "note"}
PACK, COMMIT, CHECKPOINT = 1, 2, 3
FILE, FOLDER, LINK = 0, 1, 2
INLINE = 0xFFFFFFFF
FOUR_MIB = 4 << 20


class Refused(Exception):
    """An object is not what the document says it must be."""


def refuse_unless(condition: bool, what: str) -> None:
    if not condition:
        raise Refused(what)


class Entry(NamedTuple):
    kind: int
    mode: int
    mtime_ns: int
    size: int
    chunks: tuple[bytes, ...]
    target: bytes


class Place(NamedTuple):
    """A chunk in a block of some object."""

    key: str
    header: bytes
    frame: int
    offset: int
    stored: int
    raw: int
    chunk_offset: int
    chunk_length: int


class Description(NamedTuple):
    meta: list[Any]
    record_hash: bytes
    upserts: dict[bytes, Entry]
    deletes: list[bytes]
    places: dict[bytes, Place]


# --- ids and MessagePack ----------------------------------------------------------------------------------------------


def id_text(raw: bytes) -> str:
    return base64.b32encode(raw).decode().lower().rstrip("=")


def id_bytes(text: str) -> bytes:
    try:
        raw = base64.b32decode(text.upper() + "======")
    except ValueError:
        raise Refused(f"{text!r} is not an id") from None
    refuse_unless(len(raw) == 16 and id_text(raw) == text, f"{text!r} is not an id")
    return raw


def message(data: bytes) -> Any:
    try:
        return msgspec.msgpack.decode(data)
    except (ValueError, RecursionError) as error:
        raise Refused(f"not MessagePack: {error}") from None


def typed(value: Any, *types: type) -> list[Any]:
    """Return the array ``value`` if its elements have these types."""
    refuse_unless(type(value) is list and len(value) == len(types), "an array of another length")
    refuse_unless(all(type(v) is t for v, t in zip(value, types, strict=True)), "an element of another type")
    return list(value)


def versioned(data: bytes, *known: int) -> list[Any]:
    record = message(data)
    refuse_unless(type(record) is list and len(record) > 0 and type(record[0]) is int, "no version")
    refuse_unless(record[0] in known, f"version {record[0]} needs a newer program")
    return list(record)


# --- columns ----------------------------------------------------------------------------------------------------------


def ints(code: str, data: bytes, count: int) -> tuple[int, ...]:
    layout = struct.Struct("<" + code)
    refuse_unless(count >= 0 and len(data) == count * layout.size, "a column of another length")
    return tuple(value for (value,) in layout.iter_unpack(data))


def strings(data: bytes, count: int) -> list[bytes]:
    if count == 0:
        refuse_unless(data == b"", "a column that should be empty")
        return []
    refuse_unless(count > 0 and data.count(b"\0") == count - 1, "a column with another number of strings")
    return data.split(b"\0")


def paths(data: bytes, count: int) -> list[bytes]:
    found = strings(data, count)
    for before, after in itertools.pairwise(found):
        refuse_unless(before < after, "paths out of order")
    for path in found:
        names = path.split(b"/") if path else []
        refuse_unless(not any(name in (b"", b".", b"..") for name in names), f"path {path!r}")
        refuse_unless(len(path) <= 4095 and all(len(name) <= 255 for name in names), "an over-long path")
    return found


# --- sealed objects ---------------------------------------------------------------------------------------------------


class Sealed:
    """Frames of one object, given its key and header."""

    def __init__(self, key: str, header: bytes, kind: int, deks: dict[bytes, bytes]) -> None:
        refuse_unless(len(header) == 40, "too short for a header")
        magic, version, found, suite, zero, object_id, dek_id = struct.unpack("<4sBBBB16s16s", header)
        refuse_unless(magic == b"MNFD", "no magic")
        refuse_unless(version == 1, f"version {version} needs a newer program")
        refuse_unless(found == kind, "another kind")
        refuse_unless(zero == 0 and suite in (0, 1) and (suite == 0) == (dek_id == bytes(16)), "header contradicts")
        refuse_unless(dek_id in deks, "a data key that the project does not have")
        self._prefix = b"manifold/v1" + header + struct.pack("<H", len(key)) + key.encode("ascii")
        self._aead = None
        if suite == 1:
            extracted = hmac.digest(object_id, deks[dek_id], "sha256")
            info = b"manifold/v1/" + KINDS[kind].encode("ascii")
            self._aead = AESGCM(hmac.digest(extracted, info + b"\x01", "sha256"))

    def open(self, number: int, frame: bytes, *, last: bool = False, most: int = (1 << 28) - 1) -> bytes:
        refuse_unless(len(frame) >= 24, "cut off")
        stored, bits = struct.unpack_from("<II", frame)
        refuse_unless(stored + 24 == len(frame) and bool(bits >> 31) == last, "a frame of another length")
        associated = self._prefix + struct.pack("<I", number) + frame[:8]
        payload = frame[8:-16]
        if self._aead is None:
            tag = blake3(associated + payload).digest(16)
            refuse_unless(tag == frame[-16:], f"frame {number} fails its checksum")
        else:
            try:
                payload = self._aead.decrypt(number.to_bytes(12, "little"), frame[8:], associated)
            except InvalidTag:
                raise Refused(f"frame {number} fails authentication") from None
        raw, codec = bits & ((1 << 28) - 1), bits >> 28 & 7
        if last:
            refuse_unless(stored == raw == codec == 0, "the last frame is not empty")
        refuse_unless(raw <= most, "more than it may hold")
        if codec == 0:
            refuse_unless(raw == len(payload), "another raw length")
            return payload
        refuse_unless(codec == 1 and 0 < raw <= 32768 * len(payload), "an impossible codec or length")
        try:
            refuse_unless(zstandard.frame_content_size(payload) == raw, "another content size")
            return zstandard.ZstdDecompressor().decompress(payload, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise Refused(str(error)) from None

    def split(self, data: bytes) -> list[tuple[int, bytes]]:
        """Return (offset, frame) of every frame but the last, which is checked."""
        found: list[tuple[int, bytes]] = []
        at = 40
        while True:
            refuse_unless(len(data) - at >= 24, "cut off")
            stored, bits = struct.unpack_from("<II", data, at)
            end = at + stored + 24
            refuse_unless(end <= len(data), "cut off")
            if bits >> 31:
                self.open(len(found), data[at:end], last=True)
                refuse_unless(end == len(data), "something follows the last frame")
                return found
            found.append((at, data[at:end]))
            at = end


# --- keys -------------------------------------------------------------------------------------------------------------


def read_master_key(data: bytes) -> tuple[str, int, bytes]:
    refuse_unless(data[:9] == b"MANIFKEK\x01" and hashlib.sha256(data[:-32]).digest() == data[-32:], "key file")
    length = data[9]
    name = data[10 : 10 + length].decode("ascii")
    version, _, key = struct.unpack(">IQ32s", data[10 + length : -32])
    return name, version, key


class Past(NamedTuple):
    """What a project had stored in the clear when its encryption began."""

    generations: int
    history: bytes
    drafts: list[bytes]


def key_record(data: bytes) -> list[Any]:
    """Return the fields of a key record, the last of which is its epoch."""
    record = versioned(data, 1, 2)
    fields = (int, str, str, str, str, str, int, bytes, int)
    if record[0] == 1:
        return [*typed(record, *fields), 0]
    found = typed(record, *fields, int)
    refuse_unless(1 <= found[-1] < 1 << 31, "an epoch that there is not")
    return found


def unwrap(record: list[Any], masters: dict[tuple[str, int], bytes]) -> bytes:
    _, tenant, project, dek, provider, name, version, ciphertext, _, epoch = record
    refuse_unless((provider == "none") == (not any(id_bytes(dek))), "a data key in the clear, or none that is wrapped")
    if provider == "none":
        return bytes(ciphertext)
    refuse_unless(provider == "file", f"provider {provider!r} is not known here")
    master = masters[name, version]
    named = f"{provider}\0{name}\0{version}\0".encode()
    refuse_unless(ciphertext[0] == 1, "format of the wrapped key")
    refuse_unless(zlib.crc32(named + ciphertext[:-4]) == int.from_bytes(ciphertext[-4:], "big"), "wrapped key damaged")
    fingerprint = hashlib.sha256(b"manifold master key fingerprint\0" + master).digest()[:8]
    refuse_unless(ciphertext[1:9] == fingerprint, "another master key")
    fields = ["manifold wrapped key 1", provider, name, str(version), tenant, project, dek]
    if epoch:
        fields[0] = "manifold wrapped key 2"
        fields.insert(4, str(epoch))
    binding = b"".join(struct.pack(">I", len(field.encode())) + field.encode() for field in fields)
    return AESGCM(master).decrypt(ciphertext[9:21], ciphertext[21:-4], binding)


# --- a project --------------------------------------------------------------------------------------------------------


class Project:
    """One project of a store kept as files, and its keys: DEKs by their ids."""

    def __init__(
        self,
        store: Path,
        tenant: str,
        project: str,
        id_key: bytes,
        deks: dict[bytes, bytes],
        past: Past | None = None,
    ) -> None:
        self._past = past
        self._store = store
        self._tenant = tenant
        self._project = project
        self._id_key = id_key
        self._deks = deks

    @classmethod
    def open(cls, store: Path, keystore: Path, tenant: str, project: str) -> Project:
        """Read the key records, which the provider ``file`` or ``none`` wrapped."""
        masters = {}
        for path in keystore.rglob("*"):
            if path.is_file() and path.read_bytes()[:8] == b"MANIFKEK":
                name, version, key = read_master_key(path.read_bytes())
                masters[name, version] = key
        id_key, deks, highest = b"", {}, (False, 0)
        past: Past | None = None
        for path in (store / f"t/{tenant}/p/{project}/keys").iterdir():
            record = key_record(path.read_bytes())
            refuse_unless(record[1:4] == [tenant, project, path.name], "a record about another key")
            material = unwrap(record, masters)
            dek, epoch = id_bytes(path.name), record[-1]
            least = (104 if epoch else 64) if any(dek) else 32
            refuse_unless(len(material) >= least and (len(material) - least) % 32 == 0, "material of another length")
            refuse_unless(len(material) == least or epoch > 0, "material of another length")
            deks[dek] = material[32:64]
            if (any(dek), epoch) >= highest:
                highest, id_key = (any(dek), epoch), material[:32]
                if any(dek):
                    past = cls._past_of(material) if epoch else Past(0, blake3(b"").digest(), [])
        return cls(store, tenant, project, id_key, deks, past)

    @staticmethod
    def _past_of(material: bytes) -> Past:
        drafts = [material[at : at + 32] for at in range(104, len(material), 32)]
        return Past(int.from_bytes(material[64:72], "little"), material[72:104], drafts)

    def _prefix(self, project: str) -> str:
        return f"t/{self._tenant}/p/{project}"

    def _derive(self, context: str) -> bytes:
        return blake3(self._id_key, derive_key_context=context).digest()

    def record_hash(self, record: bytes) -> bytes:
        return blake3(record, key=self._derive("manifold/v1 record hash")).digest()

    def chunk_id(self, data: bytes) -> bytes:
        return blake3(data, key=self._derive("manifold/v1 chunk id")).digest()

    def describe(self, kind: int, generation: int, commit: str) -> Description:
        """Read a commit object or a checkpoint."""
        if kind == CHECKPOINT:
            return self._describe_any(generation, commit)
        key = f"{self._prefix(self._project)}/commits/{generation:012d}-{commit}"
        return self.describe_bytes((self._store / key).read_bytes(), key, kind, generation, commit)

    def _describe_any(self, generation: int, commit: str) -> Description:
        """Read one of a generation's checkpoints: of those that count, all say the same."""
        folder = f"{self._prefix(self._project)}/checkpoints"
        refusal = Refused("no such checkpoint")
        for path in sorted((self._store / folder).glob(f"{generation:012d}-{commit}*")):
            try:
                data = path.read_bytes()
                named = path.name[12 + 1 + 26 :]
                refuse_unless(named in ("", f"-{id_text(data[8:24])}"), "a checkpoint of another name")
                return self.describe_bytes(data, f"{folder}/{path.name}", CHECKPOINT, generation, commit)
            except Refused as refused:
                refusal = refused
        raise refusal

    def describe_bytes(self, data: bytes, key: str, kind: int, generation: int, commit: str) -> Description:
        sealed = Sealed(key, data[:40], kind, self._deks)
        if self._past is not None and not any(data[24:40]):
            refuse_unless(kind == COMMIT and generation <= self._past.generations, "in the clear")
        frames = sealed.split(data)
        refuse_unless(len(frames) >= 2 if kind == COMMIT else len(frames) == 2, "another number of frames")
        record, located = (
            sealed.open(number, frame, most=min((1 << 28) - 1, (4 << 20) + 64 * len(frame)))
            for number, (_, frame) in enumerate(frames[:2])
        )
        _, meta, tree = typed(versioned(record, 1), int, list, list)
        self._check_meta(meta, kind, generation, commit)
        upserts, deletes, chunks, lengths = tree_columns(tree)
        refuse_unless(kind == COMMIT or not deletes, "a checkpoint with deletes")
        inline = [(key, data[:40], at, len(frame)) for at, frame in frames] if kind == COMMIT else []
        places = self._places(message(located), chunks, lengths, inline)
        return Description(meta, self.record_hash(record), upserts, deletes, places)

    def _check_meta(self, meta: list[Any], kind: int, generation: int, commit: str) -> None:
        refuse_unless(len(msgspec.msgpack.encode(meta)) <= 331_776, "too long")
        if kind == COMMIT:
            typed(meta, str, str, int, str, str, bytes, str, str, int, str, dict)
            first = generation == 1
            refuse_unless((meta[4] == "") == first and len(meta[5]) == (0 if first else 32), "parent")
            refuse_unless(is_json(meta[10]), "provenance")
        else:
            typed(meta, str, str, int, str, bytes, int)
            refuse_unless(len(meta[4]) == 32, "record hash")
        refuse_unless(meta[:4] == [self._tenant, self._project, generation, commit], "another object's record")

    def _places(
        self, columns: Any, chunks: list[bytes], lengths: tuple[int, ...], inline: list[tuple[str, bytes, int, int]]
    ) -> dict[bytes, Place]:
        fields = typed(columns, list, int, bytes, bytes, bytes, bytes, bytes, bytes, bytes)
        containers = [self._container(container) for container in fields[0]]
        count = fields[1]
        columns_of = zip("IIQII", fields[2:7], strict=True)
        rows = zip(*(ints(code, data, count) for code, data in columns_of), strict=True)
        blocks = []
        for number, frame, offset, stored, raw in rows:
            refuse_unless(25 <= stored <= FOUR_MIB + 24 and raw <= FOUR_MIB, "length of a block")
            if number == INLINE:
                refuse_unless(2 <= frame < len(inline) and offset == 0, "an inline block that is not there")
                key, header, begins, length = inline[frame]
                refuse_unless(length == stored, "an inline block of another length")
                blocks.append((key, header, frame, begins, stored, raw))
            else:
                refuse_unless(number < len(containers) and 40 <= offset <= 1 << 40, "an impossible block")
                key, header = containers[number]
                refuse_unless(header[5] == PACK or frame >= 2, "a block in a description")
                blocks.append((key, header, frame, offset, stored, raw))
        places = {}
        numbers, starts = ints("I", fields[7], len(chunks)), ints("I", fields[8], len(chunks))
        for chunk, length, number, start in zip(chunks, lengths, numbers, starts, strict=True):
            refuse_unless(number < len(blocks), "a block that is not listed")
            refuse_unless(start + length <= blocks[number][5], "a chunk beyond its block")
            places[chunk] = Place(*blocks[number], start, length)
        return places

    def _container(self, fields: Any) -> tuple[str, bytes]:
        project, kind, generation, name, object_id, dek = typed(fields, str, int, int, bytes, bytes, bytes)
        id_bytes(project)
        refuse_unless(len(name) == len(object_id) == len(dek) == 16, "an id of another length")
        if kind == PACK:
            refuse_unless(generation == 0 and name == object_id, "a pack's container")
            key = f"{self._prefix(project)}/packs/{id_text(name)}"
        else:
            refuse_unless(kind == COMMIT and 1 <= generation < 10**12, "kind of a container")
            key = f"{self._prefix(project)}/commits/{generation:012d}-{id_text(name)}"
        suite = 1 if any(dek) else 0
        return key, b"MNFD" + bytes([1, kind, suite, 0]) + object_id + dek

    def prove_history(self, generation: int, commit: str) -> None:
        """Refuse the commits in the clear that lead to this one, unless they are those of when encryption began."""
        assert self._past is not None
        hashes: list[bytes] = []
        for number in range(generation, 0, -1):
            one = self.describe(COMMIT, number, commit)
            if number <= self._past.generations:
                hashes.insert(0, one.record_hash)
            commit = one.meta[4]
        found = blake3(b"".join(hashes)).digest()
        refuse_unless(len(hashes) == self._past.generations and found == self._past.history, "another history")

    def tree(
        self, generation: int, commit: str, *, checkpoint: tuple[int, str] | None = None
    ) -> tuple[dict[bytes, Entry], dict[bytes, Place]]:
        """Fold the log up to a commit, from the first one or from a checkpoint."""
        tree: dict[bytes, Entry] = {}
        places: dict[bytes, Place] = {}
        begin, last_hash, last_commit = 0, b"", ""
        if checkpoint is not None:
            begin, last_commit = checkpoint
            start = self.describe(CHECKPOINT, begin, last_commit)
            tree, places, last_hash = dict(start.upserts), dict(start.places), start.meta[4]
        log: list[Description] = []
        wanted = commit
        for number in range(generation, begin, -1):
            log.append(self.describe(COMMIT, number, wanted))
            wanted = log[-1].meta[4]
        for one in reversed(log):
            refuse_unless((one.meta[4], one.meta[5]) == (last_commit, last_hash), "the chain is broken")
            for path in one.deletes:
                tree.pop(path, None)
            tree.update(one.upserts)
            places.update(one.places)
            last_commit, last_hash = one.meta[3], one.record_hash
        for path in tree:
            parent = path.rpartition(b"/")[0]
            stands = parent == b"" or (parent in tree and tree[parent].kind == FOLDER)
            refuse_unless(stands, f"{path!r} stands where there is no folder")
        return tree, places

    def content(self, entry: Entry, places: dict[bytes, Place]) -> Iterator[bytes]:
        """Yield a file's chunks, each from one ranged read, with its id checked."""
        for chunk in entry.chunks:
            place = places[chunk]
            with (self._store / place.key).open("rb") as file:
                file.seek(place.offset)
                frame = file.read(place.stored)
            sealed = Sealed(place.key, place.header, place.header[5], self._deks)
            raw = sealed.open(place.frame, frame, most=FOUR_MIB)
            refuse_unless(len(raw) == place.raw, "a block of another length")
            data = raw[place.chunk_offset : place.chunk_offset + place.chunk_length]
            refuse_unless(self.chunk_id(data) == chunk, "a chunk with another id")
            yield data


def tree_columns(columns: Any) -> tuple[dict[bytes, Entry], list[bytes], list[bytes], tuple[int, ...]]:
    fields = typed(columns, int, int, int, *([bytes] * 11))
    upsert_count, delete_count, chunk_count = fields[:3]
    names = paths(fields[3], upsert_count)
    kinds, modes = ints("B", fields[4], upsert_count), ints("H", fields[5], upsert_count)
    mtimes, sizes = ints("q", fields[6], upsert_count), ints("Q", fields[7], upsert_count)
    counts = ints("I", fields[8], kinds.count(FILE))
    numbers = ints("I", fields[9], sum(counts))
    targets = strings(fields[10], kinds.count(LINK))
    refuse_unless(chunk_count >= 0 and len(fields[11]) == 32 * chunk_count, "chunk ids")
    chunks = [fields[11][at : at + 32] for at in range(0, len(fields[11]), 32)]
    refuse_unless(len(set(chunks)) == len(chunks), "a chunk that is listed twice")
    lengths = ints("I", fields[12], chunk_count)
    refuse_unless(all(1 <= length <= FOUR_MIB for length in lengths), "length of a chunk")
    deletes = paths(fields[13], delete_count)
    refuse_unless(all(number < chunk_count for number in numbers), "a chunk that is not listed")
    upserts: dict[bytes, Entry] = {}
    at = next_file = next_link = 0
    for path, kind, mode, mtime, size in zip(names, kinds, modes, mtimes, sizes, strict=True):
        refuse_unless(kind in (FILE, FOLDER, LINK) and mode <= 0o777, "kind or mode")
        own: tuple[int, ...] = ()
        target = b""
        if kind == FILE:
            own = numbers[at : at + counts[next_file]]
            at += counts[next_file]
            next_file += 1
        elif kind == LINK:
            target = targets[next_link]
            next_link += 1
            refuse_unless(1 <= len(target) <= 4095, "target of a link")
        refuse_unless(size == sum(lengths[number] for number in own), "a size that is not its chunks'")
        refuse_unless(path != b"" or kind == FOLDER, "a root that is no folder")
        upserts[path] = Entry(kind, mode, mtime, size, tuple(chunks[number] for number in own), target)
    refuse_unless(not upserts.keys() & set(deletes) and b"" not in deletes, "a contradictory delete")
    return upserts, deletes, chunks, lengths


def is_json(value: Any, depth: int = 0) -> bool:
    if depth > 32:
        return False
    if isinstance(value, dict):
        return all(type(key) is str and is_json(item, depth + 1) for key, item in value.items())
    if isinstance(value, list):
        return all(is_json(item, depth + 1) for item in value)
    return value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value))


def main(store: str, keystore: str, tenant: str, project: str, generation: str, commit: str) -> None:
    opened = Project.open(Path(store), Path(keystore), tenant, project)
    tree, places = opened.tree(int(generation), commit)
    for path, entry in sorted(tree.items()):
        what = hashlib.sha256(b"".join(opened.content(entry, places))).hexdigest() if entry.kind == FILE else ""
        target = entry.target.decode("utf-8", "backslashreplace")
        shown = path.decode("utf-8", "backslashreplace") or "."
        print("-dl"[entry.kind], f"{entry.mode:03o}", entry.mtime_ns, entry.size, shown, what or target)


if __name__ == "__main__":
    main(*sys.argv[1:])
