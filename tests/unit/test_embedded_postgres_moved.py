"""An embedded PostgreSQL whose folder is moved, removed or copied: at rest, while it lingers, and in use."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from manifold_common.errors import CatalogUnavailable, TornCopy
from manifold_local.embedded import postgres_cluster, postgres_place
from manifold_local.embedded.postgres import ensure_embedded

from tests.support.embedded import (
    copy,
    end,
    is_stopped,
    kill,
    made_server,
    needs_proc,
    other_process,
    postgres_processes,
    postmaster,
    query,
    server_place,
    server_processes,
    start,
)
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

LONG = "long" * 30


@pytest.fixture(scope="module")
def made_folder() -> Iterator[Path]:
    with made_server() as place:
        with start(place) as server:
            query(server.dsn, "CREATE TABLE seen (n int)")
            query(server.dsn, "INSERT INTO seen VALUES (1)")
            server.close(stop_now=True)
        yield place


@pytest.fixture
def folder(made_folder: Path) -> Iterator[Path]:
    with server_place() as place:
        copy(made_folder, place)
        yield place


def rows(folder: Path) -> list[tuple[int]]:
    with ensure_embedded(folder, linger_seconds=0.0, start_timeout_seconds=10.0) as server:
        return query(server.dsn, "SELECT n FROM seen ORDER BY n")


def processes(data: os.stat_result) -> list[int]:
    """Return the processes that work in a folder, wherever it is by now."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.path.samestat((entry / "cwd").stat(), data):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


# --- moved --------------------------------------------------------------------------------------------------------


@pytest.mark.alone("measures time-outs")
@needs_proc
@pytest.mark.parametrize("name", ["moved", LONG])
def test_a_folder_moved_while_its_server_lingers_is_used_at_once_and_leaks_nothing(folder: Path, name: str) -> None:
    start(folder, linger_seconds=1.0).close()
    data = (folder / "data").stat()
    moved = folder.rename(folder.with_name(name))
    begun = time.monotonic()
    assert rows(moved) == [(1,)]
    assert time.monotonic() - begun < 3
    with start(moved, linger_seconds=0.0) as server:
        assert query(server.dsn, "SELECT 1 FROM pg_control_system()") == [(1,)], "what says whether it is a copy"
    wait_until(lambda: not processes(data))
    assert not (moved / "data/postmaster.pid").exists(), "it was stopped in order"
    assert rows(moved) == [(1,)]


@needs_proc
def test_a_renamed_folder_above_is_no_other_place(folder: Path) -> None:
    place = folder.parent / "above" / "pg"
    place.parent.mkdir()
    copy(folder, place)
    start(place, linger_seconds=1.0).close()
    data = (place / "data").stat()
    place.parent.rename(folder.parent / "renamed")
    assert rows(folder.parent / "renamed" / "pg") == [(1,)]
    wait_until(lambda: not processes(data))


@needs_proc
@pytest.mark.parametrize("name", ["pg", LONG])
def test_another_folder_in_the_old_place_has_a_server_of_its_own(folder: Path, name: str) -> None:
    place = folder.rename(folder.with_name(name))
    first = other_process(place, linger_seconds=0.0)
    moved = place.rename(place.with_name("elsewhere"))
    data = (moved / "data").stat()
    with start(place, linger_seconds=60) as second:
        query(second.dsn, "CREATE TABLE seen (n int)")
        assert rows(moved) == [(1,)]
        end(first)
        wait_until(lambda: not processes(data))
        assert query(second.dsn, "SELECT n FROM seen") == [], "the other one's end did not touch its socket"
        with start(place) as third:
            assert query(third.dsn, "SELECT n FROM seen") == []
        second.close(stop_now=True)


@needs_proc
def test_who_used_it_before_the_move_can_still_stop_it_and_is_told_why_it_cannot_start_it(folder: Path) -> None:
    with start(folder, linger_seconds=60) as server:
        data = (folder / "data").stat()
        moved = folder.rename(folder.with_name("moved"))
        with pytest.raises(CatalogUnavailable, match="moved away"):
            server.ensure_running()
        assert not folder.exists()
    with start(moved, linger_seconds=60) as server:
        folder = moved.rename(folder)
        server.close(stop_now=True)
        assert not processes(data)


@needs_proc
def test_a_server_whose_folder_is_removed_is_stopped(folder: Path) -> None:
    user = other_process(folder, linger_seconds=0.0)
    data = (folder / "data").stat()
    shutil.rmtree(folder)
    end(user, by_kill=True)
    wait_until(lambda: not processes(data), seconds=20)


@needs_proc
def test_a_server_whose_socket_was_removed_is_started_anew_at_once(folder: Path) -> None:
    with start(folder, linger_seconds=60) as server:
        pid = postmaster(folder)
        (folder / "run/.s.PGSQL.5432").unlink()
        begun = time.monotonic()
        server.ensure_running()
        assert time.monotonic() - begun < 5
        assert postmaster(folder) != pid
        assert query(server.dsn, "SELECT n FROM seen") == [(1,)]
        server.close(stop_now=True)


@needs_proc
def test_a_server_whose_socket_is_elsewhere_as_earlier_releases_had_it_is_replaced(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = folder.rename(folder.with_name(LONG))
    data = place / "data"
    elsewhere = folder.with_name("sockets")
    elsewhere.mkdir(mode=0o700)
    os.chown(elsewhere, data.stat().st_uid, data.stat().st_gid)
    with monkeypatch.context() as earlier:
        earlier.setattr(postgres_cluster.os, "pardir", str(elsewhere))
        earlier.setattr(postgres_cluster, "SOCKET_FOLDER", "")
        earlier.setattr("manifold_local.embedded.postgres._reachable_sockets", lambda *_: elsewhere)
        earlier.setattr("manifold_local.embedded.postgres._socket_folder", lambda *_: elsewhere)
        start(place, linger_seconds=60).close()
    pid = postmaster(place)
    with start(place, linger_seconds=60) as server:
        assert query(server.dsn, "SELECT n FROM seen") == [(1,)]
        assert postmaster(place) != pid
        server.close(stop_now=True)


# --- copied -------------------------------------------------------------------------------------------------------

_WRITER = """
import sys
import psycopg
from pathlib import Path
from manifold_local.embedded.postgres import ensure_embedded
server = ensure_embedded(Path(sys.argv[1]), linger_seconds=60.0)
with psycopg.connect(server.dsn, autocommit=True) as connection:
    n = 1
    while True:
        n += 1
        connection.execute("INSERT INTO seen SELECT %s", (n,))
        if n % 50 == 0:
            print(n, flush=True)
"""


def test_a_copy_of_a_stopped_folder_is_used_however_it_was_copied(folder: Path) -> None:
    data = folder / "data"
    for number, command in enumerate((["cp", "-a"], ["cp", "-r", "--preserve=mode,ownership"])):
        place = folder.with_name(f"copy{number}")
        subprocess.run([*command, str(folder), str(place)], check=True)
        assert rows(place) == [(1,)]
    archived = folder.with_name("archived")
    archived.mkdir()
    subprocess.run(f"tar -C {folder} -cf - . | tar -C {archived} -xpf -", shell=True, check=True)
    assert rows(archived) == [(1,)]
    assert data.exists()


@needs_proc
def test_a_copy_of_a_server_in_use_is_refused_with_what_to_do(folder: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    writer.stdout.readline()
    place = folder.with_name("copy")
    try:
        copy(folder, place)
    finally:
        end(writer, by_kill=True)
    with pytest.raises(TornCopy, match="copied while its database was running") as refusal:
        start(place)
    assert not postgres_processes(place)
    assert str(place / "data" / postgres_place.PLACE) in str(refusal.value.hint)
    # The way out that the hint names.
    (place / "data" / postgres_place.PLACE).unlink()
    with start(place) as server:
        query(server.dsn, "SELECT 1")
        server.close(stop_now=True)
    assert rows(folder)[0] == (1,), "the original is recovered as ever"


@needs_proc
def test_a_copy_of_files_of_two_moments_is_refused_though_its_control_file_says_all_is_well(folder: Path) -> None:
    """What a copy has that was begun before a server's last checkpoint, and ended after it."""
    place = folder.with_name("copy")
    with start(folder, linger_seconds=60) as server:
        query(server.dsn, "CHECKPOINT")
        copy(folder / "data" / "base", folder.with_name("base"))
        query(server.dsn, "CREATE TABLE acknowledged AS SELECT generate_series(1, 1000) AS n")
        server.close(stop_now=True)
    copy(folder, place)
    shutil.rmtree(place / "data" / "base")
    copy(folder.with_name("base"), place / "data" / "base")
    control = [str(postgres_cluster.binaries() / "pg_controldata"), str(place / "data")]
    assert "shut down" in subprocess.run(control, capture_output=True, text=True, check=True).stdout
    with pytest.raises(TornCopy):
        start(place)
    assert rows(folder) == [(1,)]


@needs_proc
def test_a_crashed_folder_that_was_moved_is_recovered_and_a_copy_of_it_is_refused(folder: Path) -> None:
    with start(folder, linger_seconds=60) as server:
        query(server.dsn, "INSERT INTO seen VALUES (2)")
        for pid in server_processes(folder):
            kill(pid)
        wait_until(lambda: is_stopped(folder))
    place = folder.with_name("copy")
    copy(folder, place)
    with pytest.raises(TornCopy):
        start(place)
    assert rows(folder.rename(folder.with_name("moved"))) == [(1,), (2,)]
