"""Memory is bounded however large a file is: in a program of one's own, and in the host over HTTP.

``MANIFOLD_TEST_LARGE=1`` makes the file 512 MiB.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections.abc import Iterable
from multiprocessing.connection import Connection
from pathlib import Path

from manifold_common.domain.access import LOCAL_PRINCIPAL

from tests.crash.victim import Place, build
from tests.support.host import MakeHost, status_kib
from tests.support.large_file import FULL_SIZE, pieces, write_mixed
from tests.support.work import check_out, new_project

LIMIT_MIB = 256
SIZE_MIB = 512 if FULL_SIZE else 272
"""Above the limit, so that to hold the whole file would go over it."""

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.crash.victim"])


def digest(data: Iterable[bytes | bytearray | memoryview]) -> str:
    found = hashlib.sha256()
    for piece in data:
        found.update(piece)
    return found.hexdigest()


def file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _import_check_out_and_read(place: Place, source: Path, told: Connection) -> None:
    """Tell the peak of memory above what was held at rest, in KiB, then what was checked out and what was read."""
    manifold = build(place)
    try:
        project = new_project(manifold)
        check_out(manifold, project)
        idle_kib = status_kib(os.getpid(), "VmRSS")
        manifold.transfer.import_folder(LOCAL_PRINCIPAL, project, source)
        work = check_out(manifold)
        read = digest(manifold.history.open_file(LOCAL_PRINCIPAL, project, b"large").read())
        told.send((status_kib(os.getpid(), "VmHWM") - idle_kib, work / "large", read))
    finally:
        manifold.close()
    told.close()


def test_a_process_that_imports_checks_out_and_reads_stays_small(
    tmp_path: Path, ram_folder: Path, postgres_dsn: str
) -> None:
    source = ram_folder / "source"
    source.mkdir()
    write_mixed(source / "large", SIZE_MIB)
    here, there = CONTEXT.Pipe(duplex=False)
    place = Place(tmp_path, ram_folder, postgres_dsn)
    process = CONTEXT.Process(target=_import_check_out_and_read, args=(place, source, there))
    process.start()
    there.close()
    grown_kib, checked_out, read = here.recv()
    process.join()
    here.close()
    expected = file_digest(source / "large")
    assert (file_digest(checked_out), read) == (expected, expected)
    print(f"{SIZE_MIB} MiB: {grown_kib / 1024:.0f} MiB above idle")
    assert grown_kib / 1024 <= LIMIT_MIB


def test_the_host_stays_small_while_a_file_is_sent_and_fetched(make_host: MakeHost) -> None:
    host = make_host()
    sent = digest(pieces(SIZE_MIB))
    with host.ready() as client:
        client.post("/api/v1/projects", json={"name": "demo"})
        client.put("/api/v1/projects/demo/files/warm", content=b"x")
        idle_kib = host.status_kib("VmRSS")
        assert client.put("/api/v1/projects/demo/files/large", content=pieces(SIZE_MIB)).status_code == 201
        with client.stream("GET", "/api/v1/projects/demo/files/large") as answer:
            assert digest(answer.iter_raw()) == sent
        with client.stream("GET", "/api/v1/projects/demo/archive") as answer:
            assert answer.is_success
            for _ in answer.iter_raw():
                pass
        grown_kib = host.status_kib("VmHWM") - idle_kib
    assert host.stop()[0] == 0
    print(f"{SIZE_MIB} MiB: {grown_kib / 1024:.0f} MiB above idle")
    assert grown_kib / 1024 <= LIMIT_MIB
