"""A project's tree: a map from paths to entries, and what two trees differ by.

The root folder is an entry like any other (its mode and mtime are kept), under the path ``b""``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from manifold_common.domain.paths import ROOT, parent_of
from manifold_common.ids import CHUNK_ID_BYTES, ChunkId

FILE = 0
DIRECTORY = 1
SYMLINK = 2

MODE_MASK = 0o777
"""Permission bits that are kept; set-uid, set-gid and sticky are not: a tree from elsewhere must not bring them."""

MIN_TIME_NS, MAX_TIME_NS = -(1 << 63), (1 << 63) - 1
"""Times are signed 64-bit nanoseconds since 1970: from 1677 to 2262."""

DEFAULT_DIRECTORY_MODE = 0o755
DEFAULT_FILE_MODE = 0o644


class Entry(NamedTuple):
    """One path. Two entries with equal ``kind``, ``mode`` and ``content`` are the same but for their time."""

    kind: int
    mode: int
    mtime_ns: int
    size: int
    """Bytes of a file; 0 for folders and links."""
    content: bytes
    """A file's chunk ids, joined; a link's target; empty for a folder."""

    def same_but_time(self, other: Entry) -> bool:
        return self.kind == other.kind and self.mode == other.mode and self.content == other.content


Tree: TypeAlias = dict[bytes, Entry]


class Changes(NamedTuple):
    """What turns one tree into another. No path is in both parts; order does not matter."""

    upserts: dict[bytes, Entry]
    deletes: set[bytes]

    def __bool__(self) -> bool:
        return bool(self.upserts or self.deletes)

    def paths(self) -> set[bytes]:
        return self.upserts.keys() | self.deletes


class Difference(NamedTuple):
    path: bytes
    before: Entry | None
    after: Entry | None


def kept_time(time_ns: int) -> int:
    """Return the nearest time that an entry can have. File systems know later years."""
    return max(MIN_TIME_NS, min(time_ns, MAX_TIME_NS))


def etag_of(file: Entry) -> str:
    """Return a file's entity tag, a strong validator: equal only for equal bytes. It says nothing about them to those
    without the key."""
    return f'"{hashlib.sha256(file.content).hexdigest()[:32]}"'


def content_bytes(entry: Entry) -> int:
    """Return the size of a file; 0 for anything else."""
    return entry.size if entry.kind == FILE else 0


def chunk_ids(entry: Entry) -> list[ChunkId]:
    """Return the chunk ids of a file, in order; none for anything else."""
    if entry.kind != FILE:
        return []
    content = entry.content
    return [ChunkId(content[i : i + CHUNK_ID_BYTES]) for i in range(0, len(content), CHUNK_ID_BYTES)]


def directory(mtime_ns: int, mode: int = DEFAULT_DIRECTORY_MODE) -> Entry:
    return Entry(DIRECTORY, mode, mtime_ns, 0, b"")


def apply(tree: Tree, changes: Changes) -> None:
    """Change ``tree`` in place."""
    for path in changes.deletes:
        tree.pop(path, None)
    tree.update(changes.upserts)


def between(before: Mapping[bytes, Entry], after: Mapping[bytes, Entry]) -> Changes:
    """Return what turns ``before`` into ``after``, times included."""
    return Changes(
        {path: entry for path, entry in after.items() if before.get(path) != entry},
        {path for path in before if path not in after},
    )


def differences(before: Mapping[bytes, Entry], after: Mapping[bytes, Entry]) -> list[Difference]:
    """Return, by path, what differs in more than a folder's time. That an empty tree has no root is no difference."""
    found = [
        Difference(path, before.get(path), entry)
        for path, entry in after.items()
        if not _insignificant(before.get(path), entry)
    ]
    found += [Difference(path, entry, None) for path, entry in before.items() if path not in after]
    return sorted(one for one in found if one.path != ROOT or None not in (one.before, one.after))


def _insignificant(before: Entry | None, after: Entry) -> bool:
    return before is not None and (before == after or (after.kind == DIRECTORY and before.same_but_time(after)))


def is_significant(base: Mapping[bytes, Entry], changes: Changes) -> bool:
    """Tell whether ``changes`` to ``base`` are more than new times of folders, and than the first root folder."""
    return bool(changes.deletes) or any(
        not _insignificant(base.get(path), entry)
        for path, entry in changes.upserts.items()
        if path != ROOT or ROOT in base
    )


def significant(base: Mapping[bytes, Entry], changes: Changes) -> Changes:
    """Return ``changes`` without those that only give a folder another time."""
    return Changes(
        {path: entry for path, entry in changes.upserts.items() if not _insignificant(base.get(path), entry)},
        changes.deletes,
    )


class Tally(NamedTuple):
    """How many paths were changed in more than a folder's time, the root not counted."""

    added: int
    modified: int
    deleted: int


def tally(base: Mapping[bytes, Entry], changes: Changes) -> Tally:
    real = significant(base, changes)
    added = sum(1 for path in real.upserts if path and path not in base)
    modified = sum(1 for path in real.upserts if path and path in base)
    return Tally(added, modified, len(real.deletes))


def misfit(tree: Mapping[bytes, Entry], changes: Changes) -> bytes | None:
    """Return a path that would stand where there is no folder if ``changes`` were made, or ``None``."""
    upserts, deletes = changes
    for path in upserts:
        parent = parent_of(path)
        entry = upserts.get(parent)
        if entry is None and parent not in deletes:
            entry = tree.get(parent)
        if path != ROOT and parent != ROOT and (entry is None or entry.kind != DIRECTORY):
            return path
    removed = {path for path in deletes if path in tree and tree[path].kind == DIRECTORY}
    removed.update(
        path
        for path, entry in upserts.items()
        if entry.kind != DIRECTORY and path in tree and tree[path].kind == DIRECTORY
    )
    if not removed:
        return None
    return next((path for path in tree if path and parent_of(path) in removed and path not in deletes), None)


def growth(tree: Mapping[bytes, Entry], changes: Changes) -> tuple[int, int]:
    """Return by how many (bytes of files, entries without the root) ``changes`` make ``tree`` larger."""
    replaced = [tree[path] for path in changes.paths() if path in tree]
    size = sum([entry.size for entry in changes.upserts.values()]) - sum([entry.size for entry in replaced])
    gone = sum(1 for path in changes.deletes if path in tree)
    return size, sum(1 for path in changes.upserts if path and path not in tree) - gone


def totals(tree: Mapping[bytes, Entry]) -> tuple[int, int]:
    """Return (bytes of all files, number of entries without the root)."""
    return sum([entry[3] for entry in tree.values()]), len(tree) - (ROOT in tree)
