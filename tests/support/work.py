"""Short words for tests that work in a project: put, read, check out, look at a folder."""

from __future__ import annotations

import mmap
import os
import shutil
import stat
from pathlib import Path
from typing import NamedTuple

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL, Principal
from manifold_common.domain.tree import FILE
from manifold_common.ids import Generation, ProjectId, SessionId, TenantId, UserId
from manifold_common.ports.catalog import SessionView
from manifold_common.services.projects.edits import Delete, PutFile
from manifold_common.services.projects.edits import reading as reader
from manifold_common.shapes.changes import Edited

S1, S2 = SessionId("s1"), SessionId("s2")
MAPPED = b"a" * 9000
"""For ``write_through_map``."""


def new_project(manifold: Manifold, name: str = "demo", **files: bytes) -> ProjectId:
    """Create a project; with ``files``, its generation 1 holds them."""
    project = manifold.projects.create(LOCAL_PRINCIPAL, name).id
    if files:
        edits = [PutFile(path.encode(), reader(data)) for path, data in files.items()]
        manifold.edits.apply(LOCAL_PRINCIPAL, project, edits)
    return project


def put(manifold: Manifold, project: ProjectId, path: bytes, data: bytes, mtime_ns: int | None = None) -> Edited:
    """Commit one file, as somebody else does."""
    return manifold.edits.apply(LOCAL_PRINCIPAL, project, [PutFile(path, reader(data), mtime_ns=mtime_ns)])


def remove(manifold: Manifold, project: ProjectId, path: bytes) -> Edited:
    """Commit the removal of a file or folder, as somebody else does."""
    return manifold.edits.apply(LOCAL_PRINCIPAL, project, [Delete(path, recursive=True)])


def cat(manifold: Manifold, project: ProjectId, path: bytes, generation: int | None = None) -> bytes:
    """Return a committed file's bytes."""
    wanted = None if generation is None else Generation(generation)
    return b"".join(map(bytes, manifold.history.open_file(LOCAL_PRINCIPAL, project, path, wanted).read()))


def paths(manifold: Manifold, project: ProjectId, generation: int | None = None) -> set[bytes]:
    """Return every path of a generation."""
    wanted = None if generation is None else Generation(generation)
    found = manifold.history.list_tree(LOCAL_PRINCIPAL, project, generation=wanted, recursive=True)
    return {path for path, _ in found.entries}


Committed = dict[bytes, tuple[int, bytes]]
"""Every path of a generation but the root: its kind, and a file's bytes or a link's target."""


def committed(
    manifold: Manifold, project: ProjectId, generation: int | None = None, known: dict[bytes, bytes] | None = None
) -> Committed:
    """Return what a generation holds.

    Args:
        known: files by ``Entry.content``, filled as they are read. Give one for many generations: each is read once.
    """
    wanted = None if generation is None else Generation(generation)
    snapshot = manifold.history.snapshot(LOCAL_PRINCIPAL, project, wanted)
    known = {} if known is None else known
    found: Committed = {}
    for path, entry in snapshot.tree.items():
        if path and entry.kind == FILE and entry.content not in known:
            known[entry.content] = cat(manifold, project, path, snapshot.head.generation)
        if path:
            found[path] = (entry.kind, known[entry.content] if entry.kind == FILE else entry.content)
    return found


def check_out(
    manifold: Manifold,
    project: ProjectId | None = None,
    session: SessionId = S1,
    principal: Principal = LOCAL_PRINCIPAL,
) -> Path:
    """Check a session out and return its folder."""
    return Path(manifold.sessions.checkout(principal, session, project).path)


def not_found_at_first(manifold: Manifold, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the session that is looked up next be opened by somebody else right after it was not found."""
    catalog = manifold.context.catalog
    find, missed = catalog.view_session, []

    def view_session(tenant: TenantId, user: UserId, session: SessionId) -> SessionView | None:
        if not missed:
            missed.append(session)
            return None
        return find(tenant, user, session)

    monkeypatch.setattr(catalog, "view_session", view_session)


def lose_ram(work: Path) -> None:
    """Take a working set away, with all that stands beside it, as a reboot does."""
    shutil.rmtree(work.parent)


class Node(NamedTuple):
    """What a file system shows of one path."""

    kind: str
    mode: int
    mtime_ns: int
    content: bytes


def look(folder: Path) -> dict[bytes, Node]:
    """Return everything below ``folder``; times of folders are left out."""
    found: dict[bytes, Node] = {}
    root = os.fsencode(folder)
    for where, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = os.path.join(where, name)
            status = os.lstat(path)
            mode = stat.S_IMODE(status.st_mode)
            shown = os.path.relpath(path, root)
            if stat.S_ISLNK(status.st_mode):
                found[shown] = Node("link", mode, status.st_mtime_ns, os.readlink(path))
            elif stat.S_ISDIR(status.st_mode):
                found[shown] = Node("folder", mode, 0, b"")
            else:
                with open(path, "rb") as file:
                    found[shown] = Node("file", mode, status.st_mtime_ns, file.read())
    return found


def write_through_map(path: Path) -> bytes:
    """Change a file that holds MAPPED as programs do that look at a page before they change it.

    Returns what it holds now.
    """
    before = path.stat()
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as found:
        assert found[:] == MAPPED
        found[0] = ord("b")
    changed = path.read_bytes()
    assert changed == b"b" + MAPPED[1:]
    after = path.stat()
    if (before.st_mtime_ns, before.st_ctime_ns) != (after.st_mtime_ns, after.st_ctime_ns):
        pytest.skip("this file system stamps such files")
    return changed
