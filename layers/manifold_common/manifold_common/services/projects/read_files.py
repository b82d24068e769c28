"""Many files in one answer, which is as long as a function passes on: what does not fit is left for the next."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import UNSET

from manifold_common.domain.fitting import as_many_as_fit
from manifold_common.domain.tree import FILE, Entry, etag_of
from manifold_common.engine.contents import Contents
from manifold_common.engine.tree_log import Snapshot
from manifold_common.services.context import Context
from manifold_common.shapes.files import FileContent, FileContents
from manifold_common.shapes.history import entry_facts
from manifold_common.shapes.path import TreePath, text_of

MAX_CONTENT_BYTES = 3 << 20
"""Of all files of an answer. A larger one is told without its content."""
_MAX_ANSWER_BYTES = 5 << 20
"""As JSON, in which content may take several times its bytes."""


def read_files(context: Context, snapshot: Snapshot, paths: Sequence[bytes]) -> FileContents:
    """Return what stands at ``paths``, each once. Raises CorruptObject."""
    paths = list(dict.fromkeys(paths))
    found = [(path, snapshot.tree[path]) for path in paths if path in snapshot.tree]
    fitting = as_many_as_fit(found, MAX_CONTENT_BYTES, lambda one: _content_bytes(one[1]))
    reader = context.block_reader(snapshot.tenant, snapshot.project)
    contents = Contents([one for one in fitting if _content_bytes(one[1])], snapshot.places, reader)
    room = _MAX_ANSWER_BYTES - sum(_written_bytes(TreePath.of(path)) for path in paths)
    items: list[FileContent] = []
    for path, entry in fitting:
        item = _item(path, entry, contents)
        length = _written_bytes(item)
        if length > room and not items:
            item = msgspec.structs.replace(item, text=UNSET, content_base64=UNSET)
            length = _written_bytes(item)
        room -= length
        if room < 0:
            break
        items.append(item)
    return FileContents(
        generation=snapshot.head.generation,
        commit=snapshot.head.commit,
        items=items,
        absent=[TreePath.of(path) for path in paths if path not in snapshot.tree],
        left=[TreePath.of(path) for path, _ in found[len(items) :]],
    )


def _content_bytes(entry: Entry) -> int:
    """Return how much of an entry is read."""
    return entry.size if entry.kind == FILE and entry.size <= MAX_CONTENT_BYTES else 0


def _item(path: bytes, entry: Entry, contents: Contents) -> FileContent:
    facts = entry_facts(entry)
    if entry.kind != FILE:
        return FileContent(*text_of(path), **facts)
    etag = etag_of(entry)
    if entry.size > MAX_CONTENT_BYTES:
        return FileContent(*text_of(path), **facts, etag=etag)
    data = b"".join(map(bytes, contents.of(entry))) if entry.size else b""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        return FileContent(*text_of(path), **facts, etag=etag, content_base64=data)
    return FileContent(*text_of(path), **facts, etag=etag, text=text)


def _written_bytes(shape: msgspec.Struct) -> int:
    return len(msgspec.json.encode(shape))
