"""A process of its own, for what must be measured from outside of this one: its memory, and writers that compete.

``python -m tests.bench.child WORK ARGUMENTS`` with a node's settings in the environment. Prints one JSON line.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.errors import ObjectNotFound
from manifold_common.ids import ProjectId, SessionId
from manifold_common.ports.object_store import Buffer, ObjectInfo, StoreHealth

from tests.bench.measure import touch_memory
from tests.bench.stage import start_node


class Sink:
    """An object store without a limit of its own: it takes every object at once and keeps none."""

    def put(self, key: str, data: Buffer, *, if_absent: bool = False) -> None:
        return

    def get(self, key: str, *, max_bytes: int) -> Buffer:
        raise ObjectNotFound(key)

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[Buffer]:
        raise ObjectNotFound(key)

    def head(self, key: str) -> ObjectInfo | None:
        return None

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return iter(())

    def delete(self, keys: Sequence[str]) -> None:
        return

    def health(self) -> StoreHealth:
        return StoreHealth(True, "", 0.0)


def big(name: str, folder: str, store: str) -> dict[str, float]:
    """Import a folder, then check it out from the cache. ``store``: ``sink`` or ``s3``.

    Memory is the resident set, in bytes: at rest before, and the highest during each step.
    """
    node = start_node(dict(os.environ), Path.cwd(), store=Sink() if store == "sink" else None)
    manifold = node.manifold
    project = manifold.projects.create(LOCAL_PRINCIPAL, name).id
    found = {"idle_bytes": float(_resident("VmRSS"))}
    _forget_peak()
    begun = time.perf_counter()
    done = manifold.transfer.import_folder(LOCAL_PRINCIPAL, project, Path(folder))
    found["commit_seconds"] = time.perf_counter() - begun
    found["bytes"] = float(done.total_bytes)
    found["commit_peak_bytes"] = float(_resident("VmHWM"))
    touch_memory(Path(folder).parent, done.total_bytes)
    _forget_peak()
    before = node.store.total_requests
    begun = time.perf_counter()
    manifold.sessions.checkout(LOCAL_PRINCIPAL, SessionId(name), project)
    found["checkout_seconds"] = time.perf_counter() - begun
    found["checkout_peak_bytes"] = float(_resident("VmHWM"))
    found["checkout_requests"] = float(node.store.total_requests - before)
    found["stored_bytes"] = float(node.store.bytes_out["put"])
    node.close()
    return found


def writer(project: str, number: str, commits: str) -> dict[str, float]:
    """Commit one new file after another, in a folder that no other writer touches, once told to go."""
    node = start_node(dict(os.environ), Path.cwd())
    session = SessionId(f"writer-{os.getpid()}")
    out = node.manifold.sessions.checkout(LOCAL_PRINCIPAL, session, ProjectId(project))
    folder = Path(out.path) / "writers" / number
    print("ready", flush=True)
    sys.stdin.readline()
    node.store.reset()
    begun = time.time()
    for index in range(int(commits)):
        (folder / f"file-{os.getpid()}-{index}").write_text(f"{number} {index}\n")
        node.manifold.commits.commit(LOCAL_PRINCIPAL, session)
    ended = time.time()
    puts, requests = node.store.requests["put"], node.store.total_requests
    node.manifold.sessions.close(LOCAL_PRINCIPAL, session)
    node.close()
    return {"begun": begun, "ended": ended, "puts": puts, "requests": requests}


def _resident(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) << 10
    raise RuntimeError(f"/proc/self/status has no {field}")


def _forget_peak() -> None:
    """Make VmHWM start again from what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    works: dict[str, Callable[..., dict[str, float]]] = {"big": big, "writer": writer}
    print(json.dumps(works[sys.argv[1]](*sys.argv[2:])), flush=True)
