"""A tree under edit: files put, folders made, things moved and deleted, one after another. Nothing is published here.

New content streams through in bounded memory. An edit takes time by what it touches, not by what the project holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from manifold_common.domain.arguments import checked_bytes, checked_count, checked_flag
from manifold_common.domain.nearest_paths import path_hint
from manifold_common.domain.paths import ROOT, ancestors_of, check_path, parent_of, to_display
from manifold_common.domain.tree import (
    DEFAULT_FILE_MODE,
    DIRECTORY,
    FILE,
    MODE_MASK,
    SYMLINK,
    Changes,
    Entry,
    Tree,
    between,
    directory,
    kept_time,
)
from manifold_common.domain.wording import plural
from manifold_common.engine.pack_writer import PackWriter
from manifold_common.engine.tree_log import Snapshot
from manifold_common.errors import AlreadyExists, InvalidInput, NotFound, QuotaExceeded
from manifold_common.format.chunker import WHOLE_FILE_BYTES
from manifold_common.format.tree_columns import MAX_TARGET_BYTES
from manifold_common.services.context import Context

MAX_NEW_ENTRY_BYTES = 512 << 20
"""Of memory that the entries take, about, which the edits of one commit add. One long path can add 2,047 folders."""
_BYTES_OF_AN_ENTRY = 256
"""Besides its path, and a link's target or a file's chunk ids."""
_SHOWN = 80
MAX_MOVED_ENTRIES = 1_000_000
"""Moved and copied by the edits of one commit. Two folders copied into each other in turn double each time."""

ReadInto: TypeAlias = Callable[[memoryview], int]
"""Fills a buffer and returns how many bytes it wrote; 0 at the end."""


@dataclass(frozen=True, slots=True)
class PutFile:
    """Create or replace a file; missing folders are made."""

    path: bytes
    read: ReadInto
    mode: int | None = None
    """Permission bits; ``None`` keeps those of the file that is replaced."""
    mtime_ns: int | None = None
    """``None``: now."""
    create_only: bool = False

    def __post_init__(self) -> None:
        _check_attributes(self.mode, self.mtime_ns)
        checked_flag(self.create_only, "create_only")
        if not callable(self.read):
            raise InvalidInput("what reads a file is not a function", hint="reading(b'...') makes one of bytes")


@dataclass(frozen=True, slots=True)
class PlaceFile:
    """Create or replace a file whose content is stored already; missing folders are made."""

    path: bytes
    size: int
    chunks: bytes
    """The ids of its chunks, one after another."""
    mode: int | None = None
    """As of ``PutFile``."""
    create_only: bool = False


@dataclass(frozen=True, slots=True)
class PutLink:
    path: bytes
    target: bytes
    mtime_ns: int | None = None

    def __post_init__(self) -> None:
        checked_bytes(self.target, "target")
        _check_attributes(None, self.mtime_ns)


@dataclass(frozen=True, slots=True)
class MakeFolder:
    """Create a folder, and those above it; one that exists already is left alone."""

    path: bytes
    mode: int | None = None
    mtime_ns: int | None = None

    def __post_init__(self) -> None:
        _check_attributes(self.mode, self.mtime_ns)


@dataclass(frozen=True, slots=True)
class Delete:
    path: bytes
    recursive: bool = False
    """Needed for a folder that is not empty."""

    def __post_init__(self) -> None:
        checked_flag(self.recursive, "recursive")


@dataclass(frozen=True, slots=True)
class Move:
    source: bytes
    destination: bytes
    overwrite: bool = False

    def __post_init__(self) -> None:
        checked_flag(self.overwrite, "overwrite")


@dataclass(frozen=True, slots=True)
class Copy:
    """Make what is at ``source`` appear a second time. No content is read or sent."""

    source: bytes
    destination: bytes
    overwrite: bool = False

    def __post_init__(self) -> None:
        checked_flag(self.overwrite, "overwrite")


Edit: TypeAlias = PutFile | PlaceFile | PutLink | MakeFolder | Delete | Move | Copy
"""Making one raises InvalidInput where a field is not what it is said to be. Its paths are checked when it is made to a
tree."""


def _check_attributes(mode: int | None, mtime_ns: int | None) -> None:
    if mode is not None:
        checked_count(mode, "mode")
    if mtime_ns is not None and type(mtime_ns) is not int:
        raise InvalidInput("a modification time is a whole number of nanoseconds", hint="as os.stat gives it")


class _EditedTree:
    """A tree that knows what is in each folder, once that was asked for."""

    def __init__(self, tree: Tree) -> None:
        self.entries = dict(tree)
        self._new_bytes = 0
        self._inside: dict[bytes, set[bytes]] | None = None

    def get(self, path: bytes) -> Entry | None:
        return self.entries.get(path)

    def put(self, path: bytes, entry: Entry) -> None:
        """Raises QuotaExceeded: too many entries, or too long ones, are added. That shows before memory ends."""
        standing = self.entries.get(path)
        if standing is None or len(entry.content) > len(standing.content):
            self._new_bytes += len(entry.content)
            if standing is None:
                self._new_bytes += _BYTES_OF_AN_ENTRY + len(path)
            if self._new_bytes > MAX_NEW_ENTRY_BYTES:
                raise QuotaExceeded(
                    f"these changes add too many files and folders, too deep ones, or too long links: they take about "
                    f"{plural(self._new_bytes, 'byte')} of memory up to {to_display(path[:_SHOWN])!r}, over the "
                    f"limit of {MAX_NEW_ENTRY_BYTES}",
                    hint="make them in several commits, or use shorter paths",
                    limit=MAX_NEW_ENTRY_BYTES,
                )
        self.entries[path] = entry
        if self._inside is not None and path != ROOT:
            self._inside.setdefault(parent_of(path), set()).add(path)

    def take(self, path: bytes) -> Entry:
        """Remove ``path`` and return what it was. What is below it is to be removed as well."""
        entry = self.entries.pop(path)
        if self._inside is not None:
            self._inside.get(parent_of(path), set()).discard(path)
            self._inside.pop(path, None)
        return entry

    def below(self, folder: bytes) -> list[bytes]:
        """Return all that is below a folder, each folder before what is in it."""
        if self._inside is None:
            self._inside = {}
            for path in self.entries:
                if path != ROOT:
                    self._inside.setdefault(parent_of(path), set()).add(path)
        found: list[bytes] = []
        waiting = [folder]
        while waiting:
            inside = self._inside.get(waiting.pop(), ())
            found += inside
            waiting += inside
        return found


class TreeEditor:
    """A base, and an overlay of what was changed so far."""

    def __init__(self, context: Context, base: Snapshot, writer: PackWriter) -> None:
        self._limits = context.policy.limits
        self._chunker = context.keys.of(base.tenant, base.project).chunker
        self._now_ns = int(context.clock.now().timestamp() * 1_000_000) * 1000
        self._base = base.tree
        self._tree = _EditedTree(base.tree)
        self._moved_entries = 0
        self._writer = writer
        self._only_new: list[bytes] = []
        """Paths that are to replace nothing, and that the base does not have."""

    def changes(self) -> Changes:
        return between(self._base, self._tree.entries)

    def refuse_taken(self, tree: Tree) -> None:
        """Raises AlreadyExists: an edit was not to replace what ``tree``, which is newer than the base, has."""
        for path in self._only_new:
            if path in tree:
                raise _taken(path)

    def edit(self, edit: Edit) -> None:
        match edit:
            case PutFile() | PlaceFile():
                self._put_file(edit)
            case PutLink():
                self._put_link(edit)
            case MakeFolder():
                self._make_folder(edit)
            case Delete():
                self._delete(edit)
            case Move():
                self._move(edit)
            case Copy():
                self._copy(edit)
            case _:
                raise InvalidInput(
                    f"{type(edit).__name__} is no edit",
                    hint="use PutFile, PutLink, MakeFolder, Delete, Move or Copy",
                )

    def _put_file(self, edit: PutFile | PlaceFile) -> None:
        path = check_path(edit.path)
        before = self._tree.get(path)
        if edit.create_only:
            self._must_be_free(path)
        if before is not None and before.kind == DIRECTORY:
            raise InvalidInput(f"{to_display(path)!r} is a folder", hint="delete it first, or choose another path")
        self._make_parents(path)
        mtime_ns = self._now_ns
        if isinstance(edit, PlaceFile):
            self._limits.check_file(to_display(path), edit.size)
            size, content = edit.size, edit.chunks
        else:
            size, content = self._content(path, edit.read)
            mtime_ns = self._now_ns if edit.mtime_ns is None else kept_time(edit.mtime_ns)
        mode = edit.mode
        if mode is None:
            mode = before.mode if before is not None and before.kind == FILE else DEFAULT_FILE_MODE
        self._tree.put(path, Entry(FILE, mode & MODE_MASK, mtime_ns, size, content))
        self._touch(parent_of(path), before is None)

    def _content(self, path: bytes, read: ReadInto) -> tuple[int, bytes]:
        shown = to_display(path)
        first = memoryview(bytearray(WHOLE_FILE_BYTES + 1))
        filled = 0
        while filled < len(first) and (count := read(first[filled:])):
            filled += count
        self._limits.check_file(shown, filled)
        if filled <= WHOLE_FILE_BYTES:
            return filled, self._writer.add(bytes(first[:filled])) if filled else b""
        size = 0
        ids = []
        for chunk in self._chunker.cut(_after(first, read)):
            size += len(chunk)
            self._limits.check_file(shown, size)
            ids.append(self._writer.add(chunk))
        return size, b"".join(ids)

    def _put_link(self, edit: PutLink) -> None:
        path = check_path(edit.path)
        if not 0 < len(edit.target) <= MAX_TARGET_BYTES or b"\0" in edit.target:
            raise InvalidInput(
                f"the link {to_display(path)!r} has a target that no link can have",
                hint=f"a target has 1 to {MAX_TARGET_BYTES} bytes, and no NUL",
            )
        before = self._tree.get(path)
        if before is not None and before.kind == DIRECTORY:
            raise InvalidInput(f"{to_display(path)!r} is a folder", hint="delete it first, or choose another path")
        self._make_parents(path)
        mtime_ns = self._now_ns if edit.mtime_ns is None else kept_time(edit.mtime_ns)
        self._tree.put(path, Entry(SYMLINK, MODE_MASK, mtime_ns, 0, edit.target))
        self._touch(parent_of(path), before is None)

    def _make_folder(self, edit: MakeFolder) -> None:
        path = check_path(edit.path)
        before = self._tree.get(path)
        if before is not None and before.kind != DIRECTORY:
            raise InvalidInput(f"{to_display(path)!r} is there already, and is not a folder")
        self._make_parents(path)
        entry = before or directory(self._now_ns)
        mode = entry.mode if edit.mode is None else edit.mode & MODE_MASK
        mtime_ns = entry.mtime_ns if edit.mtime_ns is None else kept_time(edit.mtime_ns)
        self._tree.put(path, entry._replace(mode=mode, mtime_ns=mtime_ns))
        self._touch(parent_of(path), before is None)

    def _delete(self, edit: Delete) -> None:
        path = check_path(edit.path)
        below = self._below(path)
        if below and not edit.recursive:
            raise InvalidInput(f"the folder {to_display(path)!r} is not empty", hint="delete it with all that is in it")
        for gone in (*below, path):
            self._tree.take(gone)
        self._touch(parent_of(path), True)

    def _move(self, edit: Move) -> None:
        source, destination, below = self._clear_way(edit)
        cut = len(source)
        for path in (source, *below):
            self._tree.put(check_path(destination + path[cut:]), self._tree.take(path))
        self._touch(parent_of(source), True)
        self._touch(parent_of(destination), True)

    def _copy(self, edit: Copy) -> None:
        source, destination, below = self._clear_way(edit)
        cut = len(source)
        for path in (source, *below):
            self._tree.put(check_path(destination + path[cut:]), self._tree.entries[path])
        self._touch(parent_of(destination), True)

    def _clear_way(self, edit: Move | Copy) -> tuple[bytes, bytes, list[bytes]]:
        """Return the source, the destination, which is free now, and what is below the source."""
        source, destination = check_path(edit.source), check_path(edit.destination)
        below = self._below(source)
        if destination == source:
            raise InvalidInput(
                f"{to_display(source)!r} is the source and the destination", hint="name another path as the destination"
            )
        if destination.startswith(source + b"/"):
            raise InvalidInput(f"{to_display(source)!r} cannot be put into itself")
        if source.startswith(destination + b"/"):
            raise InvalidInput(f"{to_display(source)!r} cannot take the place of a folder that it lies in")
        self._count(1 + len(below))
        if not edit.overwrite:
            self._must_be_free(destination, hint="ask for it to be replaced")
        elif self._tree.get(destination) is not None:
            self._delete(Delete(destination, recursive=True))
        self._make_parents(destination)
        return source, destination, below

    def _must_be_free(self, path: bytes, hint: str | None = None) -> None:
        if self._tree.get(path) is not None:
            raise _taken(path, hint)
        if path not in self._base:
            self._only_new.append(path)

    def _below(self, path: bytes) -> list[bytes]:
        """Return what is below an existing path. Raises NotFound."""
        entry = self._tree.get(path)
        if entry is None:
            raise NotFound(f"there is no {to_display(path)!r}", hint=path_hint(self._tree.entries, path))
        return self._tree.below(path) if entry.kind == DIRECTORY else []

    def _count(self, entries: int) -> None:
        self._moved_entries += entries
        if self._moved_entries > MAX_MOVED_ENTRIES:
            raise QuotaExceeded(
                f"these changes move and copy more than {MAX_MOVED_ENTRIES} files and folders",
                hint="make them in several commits",
                limit=MAX_MOVED_ENTRIES,
            )

    def _make_parents(self, path: bytes) -> None:
        for folder in ancestors_of(path):
            entry = self._tree.get(folder)
            if entry is None:
                self._tree.put(folder, directory(self._now_ns))
            elif entry.kind != DIRECTORY:
                raise InvalidInput(f"{to_display(folder)!r} is not a folder")
        if self._tree.get(ROOT) is None:
            self._tree.put(ROOT, directory(self._now_ns))

    def _touch(self, folder: bytes, changed: bool) -> None:
        if changed:
            self._tree.put(folder, self._tree.entries[folder]._replace(mtime_ns=self._now_ns))


def reading(content: bytes) -> ReadInto:
    """Return what reads ``content``."""
    rest = memoryview(content)

    def read(into: memoryview) -> int:
        nonlocal rest
        count = min(len(rest), len(into))
        into[:count] = rest[:count]
        rest = rest[count:]
        return count

    return read


def _after(first: memoryview, read: ReadInto) -> ReadInto:
    """Return a reader that gives ``first``, then what ``read`` gives."""
    rest = first

    def both(into: memoryview) -> int:
        nonlocal rest
        if not rest:
            return read(into)
        count = min(len(rest), len(into))
        into[:count] = rest[:count]
        rest = rest[count:]
        return count

    return both


def _taken(path: bytes, hint: str | None = None) -> AlreadyExists:
    return AlreadyExists(f"{to_display(path)!r} is there already", hint=hint)
