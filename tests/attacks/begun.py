"""A project that was made in the clear and then encrypted, and one that always was."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.ids import PLAIN, Generation, ProjectId
from manifold_common.ports.object_store import ObjectStore
from manifold_common.shapes.requests import CheckoutRequest

from tests.attacks.forging import TENANT, Rows
from tests.support.manifold import MakeManifold
from tests.support.work import look, new_project, put

PACKED_BYTES = 2_200_000
"""More than travels inside a commit object."""
PLAIN_GENERATIONS = 3
_numbers = itertools.count(1)


@dataclass
class Begun:
    make: Callable[[], Manifold]
    """A node that encrypts and has nothing in its cache or memory."""
    project: ProjectId
    """Generations 1 to 3 are in the clear: ``a``, ``b``, and ``large``, which is in a pack. 4 and 5 are sealed."""
    sealed: ProjectId
    """Encrypted from its first commit on. It has ``a`` and ``b`` too."""
    files: dict[bytes, bytes]
    store: ObjectStore
    id_key: bytes
    """Of the first project: it lay in the clear."""

    def rows(self, project: ProjectId | None = None) -> Rows:
        return Rows(self.make(), project or self.project)

    def get(self, key: str) -> bytes:
        return bytes(self.store.get(key, max_bytes=1 << 30))


def begin(make_manifold: MakeManifold, *, draft: Callable[[Manifold, ProjectId], None] | None = None) -> Begun:
    plain = make_manifold(PROJECTS_ENCRYPT="false", node="plain")

    def make() -> Manifold:
        return make_manifold(node=f"n{next(_numbers)}")

    files = {
        b"a": secrets.token_bytes(200),
        b"b": secrets.token_bytes(200),
        b"large": secrets.token_bytes(PACKED_BYTES),
    }
    project = new_project(plain, "begun", a=files[b"a"])
    put(plain, project, b"b", files[b"b"])
    put(plain, project, b"large", files[b"large"])
    if draft is not None:
        draft(plain, project)
    id_key = bytes(plain.context.keys.of(TENANT, project).id_key)
    node = make()
    for path in (b"c", b"d"):
        files[path] = secrets.token_bytes(200)
        put(node, project, path, files[path])
    sealed = new_project(node, "sealed", a=b"one")
    put(node, sealed, b"b", b"two")
    return Begun(make, project, sealed, files, node.context.store, id_key)


@pytest.fixture
def begun(make_manifold: MakeManifold) -> Begun:
    return begin(make_manifold)


def check_out_all(manifold: Manifold, project: ProjectId, generation: int | None = None) -> dict[bytes, bytes]:
    """Return every file of a generation, as a checkout of its own brings it."""
    wanted = None if generation is None else Generation(generation)
    done = manifold.sessions.checkout(LOCAL_PRINCIPAL, None, project, CheckoutRequest(wanted))
    found = {path: node.content for path, node in look(Path(done.path)).items() if node.kind == "file"}
    manifold.sessions.close(LOCAL_PRINCIPAL, done.session)
    return found


def in_the_clear(begun_store: ObjectStore) -> set[str]:
    """Return the objects of the store that are not sealed, and the records that hold a key in the clear."""
    found = set()
    for info in begun_store.list(""):
        data = bytes(begun_store.get(info.key, max_bytes=1 << 30))
        if info.key.rpartition("/")[0].endswith("/keys"):
            if info.key.endswith(PLAIN):
                found.add(info.key)
        elif data[:4] != b"MNFD" or data[6] != 1:
            found.add(info.key)
    return found
