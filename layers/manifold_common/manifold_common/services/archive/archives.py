"""Whole trees in and out as one stream: tar, tar.gz, zip. Memory stays bounded however large the tree.

Out: entries by path, content read as the receiver takes it (``exported``). In: one commit or nothing. What an archive
may hold is checked by what it declares, and again by what it really brings.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Generator, Iterator
from contextlib import closing

from msgspec import structs

from manifold_common.domain.access import Principal
from manifold_common.domain.arguments import checked_bytes, checked_flag, member_of
from manifold_common.domain.history import Seen
from manifold_common.domain.losses import Loss, Losses
from manifold_common.domain.named_request import NamedRequest
from manifold_common.domain.paths import ROOT, check_path, parent_of, to_display
from manifold_common.domain.patience import check_wanted
from manifold_common.domain.tree import Tree
from manifold_common.errors import InvalidInput, ManifoldError, QuotaExceeded
from manifold_common.ids import Generation, ProjectId
from manifold_common.services.archive.exported import ArchiveFormat, ExportedArchive, KnownSizes
from manifold_common.services.archive.limits import ArchiveLimits
from manifold_common.services.archive.read_tar import read_tar
from manifold_common.services.archive.read_zip import read_zip
from manifold_common.services.archive.source import Item, ItemKind, Source, gunzip
from manifold_common.services.context import Context
from manifold_common.services.projects.edits import (
    Copy,
    Delete,
    Edit,
    Edits,
    MakeFolder,
    PutFile,
    PutLink,
    ReadInto,
)
from manifold_common.services.projects.history import History
from manifold_common.shapes.changes import Edited, ImportedArchive
from manifold_common.shapes.intent import NO_INTENT, Intent
from manifold_common.shapes.losses import not_kept
from manifold_common.shapes.path import listed

_SNIFFED_BYTES = 512
MAX_SKIPPED_BYTES = 16 << 20
"""Of the paths of devices and FIFOs, which are named in the answer."""
_SHOWN = 80
_GZIP = b"\x1f\x8b"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")


class Archives:
    """Args: ``spool_folder``: where a zip is kept, unlinked, while it is read; in RAM when projects are encrypted."""

    def __init__(self, context: Context, history: History, edits: Edits, *, spool_folder: str) -> None:
        self._context = context
        self._history = history
        self._edits = edits
        self._spool_folder = spool_folder
        self._sizes = KnownSizes()

    def export(
        self,
        principal: Principal,
        project: ProjectId,
        archive_format: ArchiveFormat,
        generation: Generation | None = None,
    ) -> ExportedArchive:
        """Return a generation (``None``: the head) as an archive. Raises NotFound, InvalidInput."""
        archive_format = member_of(ArchiveFormat, archive_format, "archive_format")
        snapshot = self._history.snapshot(principal, project, generation)
        reader = self._context.block_reader(snapshot.tenant, snapshot.project)
        return ExportedArchive(snapshot, reader, archive_format, self._sizes)

    def load(
        self,
        principal: Principal,
        project: ProjectId,
        read: ReadInto,
        intent: Intent = NO_INTENT,
        *,
        folder: bytes = ROOT,
        replace: bool = False,
        expected: Callable[[], Seen | None] | None = None,
    ) -> ImportedArchive:
        """Put what a tar, tar.gz or zip holds into the project, as one commit.

        Args:
            folder: put it below this folder.
            replace: remove what stands there and is not in the archive.
            expected: says what the commit has to be made on, where ``intent`` does not; asked unless a request of that
                name was done before. Such a one is answered from the archive, which is read once more.

        Raises:
            InvalidInput: not such an archive, damaged, or holding what no project can. UnsafePath: a path in it leaves
                the project. QuotaExceeded: it holds too much, or expands too far. NoSpace. RamUnavailable: a zip for an
                encrypted project, where it could only be kept on a disk while it is read. Others as ``Edits.apply``.
        """
        checked_flag(replace, "replace")
        if checked_bytes(folder, "folder") != ROOT:
            check_path(folder)
        limits = ArchiveLimits.of(self._context.policy.limits)
        extraction = _Extraction(limits, folder)
        if intent.request is not None:
            replay = _Replay(intent.request, extraction, lambda: self._items(principal, project, Source(read), limits))
            done = self._edits.earlier(principal, project, replay.request)
            if done is not None:
                replay.finish()
                return extraction.answer(done)
        if expected is not None:
            intent = structs.replace(intent, expected=expected())
        base = self._edits.base(principal, project, intent.expected)
        intent = intent.or_message("import an archive")
        if replace:
            intent = structs.replace(intent, expected=base.head.generation)
        making_way = _standing(base.tree, folder) if replace else []
        with (
            closing(self._items(principal, project, Source(read), limits)) as items,
            closing(extraction.edits(items, making_way)) as edits,
        ):
            return extraction.answer(self._edits.apply(principal, project, edits, intent))

    def _items(
        self, principal: Principal, project: ProjectId, source: Source, limits: ArchiveLimits
    ) -> Generator[Item, None, None]:
        start = source.peek(_SNIFFED_BYTES)
        if start.startswith(_ZIP):
            self._context.plaintext.refuse_spool(principal.tenant, project)
            return read_zip(source, limits, self._spool_folder)
        return read_tar(Source(gunzip(source, limits)) if start.startswith(_GZIP) else source, limits)


class _Extraction:
    """Turns items into edits, and keeps count."""

    def __init__(self, limits: ArchiveLimits, folder: bytes) -> None:
        self._limits = limits
        self._folder = folder
        self._seen = 0
        self.entries = 0
        self.total_bytes = 0
        self.skipped: list[bytes] = []
        self.losses = Losses()

    def edits(self, items: Iterator[Item], removed_first: list[bytes]) -> Generator[Edit, None, None]:
        """Yield what to do. Args: ``removed_first``: paths that make way.

        Raises:
            QuotaExceeded, InvalidInput, UnsafePath: see ``Archives.load``.
        """
        for path in removed_first:
            yield Delete(path, recursive=True)
        if self._folder:
            yield MakeFolder(self._folder)
        folders: dict[bytes, MakeFolder] = {}
        skipped_bytes = 0
        for item in items:
            check_wanted()
            self._count(item)
            if not item.path:
                continue
            path = check_path(self._below(item.path))
            if item.kind is ItemKind.UNSUPPORTED:
                self.skipped.append(path)
                skipped_bytes += len(path)
                if skipped_bytes > MAX_SKIPPED_BYTES:
                    raise QuotaExceeded(
                        f"the paths of devices and FIFOs in the archive, {len(self.skipped)} up to "
                        f"{to_display(path[:_SHOWN])!r}, have more than {MAX_SKIPPED_BYTES} bytes",
                        hint="leave them out",
                        limit=MAX_SKIPPED_BYTES,
                    )
                continue
            self.entries += 1
            self._note_losses(path, item)
            if item.kind is ItemKind.FOLDER:
                folders.pop(path, None)
                folders[path] = MakeFolder(path, item.mode, item.mtime_ns)
            yield self._edit(path, item)
        # Again, for their times: whatever was put into a folder changed them.
        yield from folders.values()

    def answer(self, edited: Edited) -> ImportedArchive:
        """Return the answer to an import. Call it after the last item."""
        return ImportedArchive(
            **structs.asdict(edited),
            entries=self.entries,
            total_bytes=self.total_bytes,
            skipped=listed(self.skipped),
            not_kept=not_kept(self.losses),
        )

    def _note_losses(self, path: bytes, item: Item) -> None:
        if item.kind is ItemKind.HARD_LINK:
            self.losses.note(Loss.HARD_LINKS, path)  # its bits and its time are those of the file
            return
        self.losses.note_time(path, item.mtime_ns)
        if item.kind is not ItemKind.LINK:
            self.losses.note_mode(path, stat.S_IMODE(item.mode))
        if item.has_attributes:
            self.losses.note(Loss.ATTRIBUTES, path)

    def _edit(self, path: bytes, item: Item) -> Edit:
        if item.kind is ItemKind.FOLDER:
            return MakeFolder(path, item.mode)
        if item.kind is ItemKind.LINK:
            return PutLink(path, item.target, item.mtime_ns)
        if item.kind is ItemKind.HARD_LINK:
            return Copy(self._below(item.target), path, overwrite=True)
        assert item.read is not None
        return PutFile(path, item.read, item.mode, item.mtime_ns)

    def _count(self, item: Item) -> None:
        self._seen += 1
        self.total_bytes += item.size
        self._limits.check_entries(self._seen)
        self._limits.quotas.check_file(to_display(item.path), item.size)
        self._limits.check_bytes(self.total_bytes)

    def _below(self, path: bytes) -> bytes:
        return self._folder + b"/" + path if self._folder else path


class _Replay:
    """An archive that may have come before: what it holds is counted on the way to its fingerprint."""

    def __init__(
        self, request: NamedRequest, extraction: _Extraction, items: Callable[[], Generator[Item, None, None]]
    ) -> None:
        self.request = request._replace(fingerprint=self._fingerprint)
        self._named = request
        self._extraction = extraction
        self._items = items
        self._is_read = False
        self._failed: ManifoldError | None = None

    def finish(self) -> None:
        """Count it, if that was not done. Raises what ``Archives.load`` does: it cannot be read, or not any more."""
        if not self._is_read:
            self._read()
        if self._failed is not None:
            raise self._failed

    def _fingerprint(self) -> bytes:
        self._read()
        return self._named.fingerprint()

    def _read(self) -> None:
        self._is_read = True
        try:
            with closing(self._items()) as items, closing(self._extraction.edits(items, [])) as edits:
                for _ in edits:
                    pass
        except (InvalidInput, QuotaExceeded) as error:
            self._failed = error  # it may be another archive, which its fingerprint shows


def _standing(tree: Tree, folder: bytes) -> list[bytes]:
    """Return what stands in ``folder``."""
    return [path for path in tree if path != ROOT and parent_of(path) == folder]
