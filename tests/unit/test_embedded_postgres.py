"""The embedded PostgreSQL, with real servers and real kills."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from manifold_common.errors import CatalogUnavailable, ConfigError, NoSpace
from manifold_local.embedded import postgres_account, postgres_cluster
from manifold_local.embedded.filelock import FileLock
from manifold_local.embedded.postgres import ensure_embedded, stop_embedded
from manifold_local.embedded.postgres_keeper import SUMS
from psycopg.conninfo import conninfo_to_dict

from tests.support.embedded import (
    USER,
    copy,
    end,
    is_stopped,
    keepers,
    kill,
    made_server,
    needs_proc,
    needs_root,
    other_process,
    postgres_processes,
    postmaster,
    python_for,
    query,
    server_place,
    server_processes,
    start,
)
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def new_folder() -> Iterator[Path]:
    with server_place() as place:
        yield place


@pytest.fixture(scope="module")
def made_folder() -> Iterator[Path]:
    with made_server() as place:
        yield place


@pytest.fixture
def folder(new_folder: Path, made_folder: Path) -> Path:
    """A server's folder in which it has run before."""
    copy(made_folder, new_folder)
    return new_folder


# --- sharing ------------------------------------------------------------------------------------------------------


@needs_proc
def test_processes_share_one_server_and_the_last_one_out_stops_it(folder: Path) -> None:
    first = start(folder)
    other = other_process(folder)
    pid = postmaster(folder)
    first.close()
    time.sleep(0.3)
    assert postmaster(folder) == pid
    query(first.dsn, "SELECT 1")
    end(other)
    wait_until(lambda: is_stopped(folder))
    assert not (folder / "data/postmaster.pid").exists()


@needs_proc
def test_the_server_stops_also_when_its_users_are_killed(folder: Path) -> None:
    users = [other_process(folder) for _ in range(2)]
    for user in users:
        end(user, by_kill=True)
    wait_until(lambda: is_stopped(folder))
    assert not (folder / "data/postmaster.pid").exists(), "it was stopped in order"


@needs_proc
def test_a_server_whose_users_and_keeper_were_killed_is_adopted(folder: Path) -> None:
    user = other_process(folder)
    pid = postmaster(folder)
    for keeper in keepers(folder):
        kill(keeper)
    wait_until(lambda: not keepers(folder))
    end(user, by_kill=True)
    with start(folder) as adopted:
        assert postmaster(folder) == pid
        query(adopted.dsn, "SELECT 1")
    wait_until(lambda: is_stopped(folder))


@needs_proc
def test_the_server_lingers_for_the_next_command(folder: Path) -> None:
    start(folder, linger_seconds=0.5).close()
    pid = postmaster(folder)
    time.sleep(0.1)
    with start(folder):
        assert postmaster(folder) == pid
        time.sleep(0.8)
        assert postmaster(folder) == pid
    wait_until(lambda: is_stopped(folder), seconds=5)


@needs_proc
def test_closing_with_stop_now_stops_before_it_returns_unless_others_stay(folder: Path) -> None:
    first, second = start(folder, linger_seconds=60), start(folder, linger_seconds=60)
    first.close(stop_now=True)
    query(second.dsn, "SELECT 1")
    second.close(stop_now=True)
    assert not postgres_processes(folder)
    second.close()


@needs_proc
def test_stop_now_is_not_misled_by_a_keeper_that_gets_the_lock_first(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start(folder, linger_seconds=60)
    release = FileLock.release

    def and_the_keeper_is_quicker(lock: FileLock) -> None:
        monkeypatch.setattr(FileLock, "release", release)
        release(lock)
        keepers = FileLock(lock.path)
        assert keepers.wait_exclusive(10)
        threading.Timer(0.05, keepers.close).start()

    monkeypatch.setattr(FileLock, "release", and_the_keeper_is_quicker)
    server.close(stop_now=True)
    assert not postgres_processes(folder)


@needs_proc
def test_a_server_that_was_stopped_is_not_touched_again(folder: Path) -> None:
    start(folder, linger_seconds=60).close(stop_now=True)
    (folder / "data" / SUMS).unlink()  # as somebody does who removes the folder
    assert stop_embedded(folder)
    assert not (folder / "data" / SUMS).exists()
    start(folder).close(stop_now=True)
    assert (folder / "data" / SUMS).exists()


_CHURN = """
import random, sys, time
from pathlib import Path
import psycopg
from manifold_local.embedded.postgres import ensure_embedded
for _ in range(8):
    server = ensure_embedded(Path(sys.argv[1]), linger_seconds=0.0)
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("INSERT INTO done VALUES (1)")
    server.close(stop_now=random.random() < 0.5)
    time.sleep(random.random() * 0.05)
"""


@needs_proc
def test_eight_processes_that_come_and_go_never_find_a_server_that_is_stopping(folder: Path) -> None:
    with start(folder) as server:
        query(server.dsn, "CREATE TABLE done (x int)")
    churning = [
        subprocess.Popen([sys.executable, "-c", _CHURN, str(folder)], stderr=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    failures = [process.communicate(timeout=60)[1] for process in churning]
    assert failures == [""] * 8
    with start(folder) as server:
        assert query(server.dsn, "SELECT count(*) FROM done") == [(64,)]
    wait_until(lambda: is_stopped(folder))
    assert (folder / "server.log").read_text().count("interrupted") == 0, "each stop was in order"


@needs_proc
def test_a_server_that_crashed_is_started_again_on_request(folder: Path) -> None:
    with start(folder) as server:
        pid = postmaster(folder)
        kill(pid)
        wait_until(lambda: pid not in server_processes(folder))
        server.ensure_running()
        assert postmaster(folder) != pid
        assert query(server.dsn, "SELECT 1") == [(1,)]


# --- crashes ------------------------------------------------------------------------------------------------------

_WRITER = """
import sys
import psycopg
from pathlib import Path
from manifold_local.embedded.postgres import ensure_embedded
server = ensure_embedded(Path(sys.argv[1]), linger_seconds=0.0)
with psycopg.connect(server.dsn, autocommit=True) as connection:
    connection.execute("CREATE TABLE IF NOT EXISTS log (n bigint)")
    n = connection.execute("SELECT coalesce(max(n), 0) FROM log").fetchone()[0]
    while True:
        n += 1
        connection.execute("INSERT INTO log VALUES (%s)", (n,))
        print(n, flush=True)
"""


@needs_proc
def test_kill_9_of_everything_loses_no_acknowledged_commit(folder: Path) -> None:
    acknowledged = 0
    for _ in range(4):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert writer.stdout is not None
        for _ in range(30):
            acknowledged = int(writer.stdout.readline())
        for pid in [writer.pid, *server_processes(folder)]:
            kill(pid)
        rest = writer.communicate()[0].split()
        acknowledged = int(rest[-1]) if rest else acknowledged
        wait_until(lambda: is_stopped(folder))
    with start(folder) as server:
        rows = query(server.dsn, "SELECT n FROM log ORDER BY n")
        assert [n for (n,) in rows[:acknowledged]] == list(range(1, acknowledged + 1))
        settings: dict[str, str] = dict(query(server.dsn, "SELECT name, setting FROM pg_settings"))
        assert [settings[name] for name in ("fsync", "full_page_writes", "synchronous_commit")] == ["on"] * 3


@needs_proc
def test_a_stale_pid_file_that_names_a_living_stranger_does_no_harm(folder: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as stranger:
        account = (folder / "data").stat()
        for path in (folder / "data/postmaster.pid", folder / "run/.s.PGSQL.5432.lock"):
            path.write_text(f"{stranger.pid}\n{folder}/data\n1\n5432\n{folder}/run\n\n  1 2\nready   \n")
            os.chown(path, account.st_uid, account.st_gid)
        with start(folder) as server:
            query(server.dsn, "SELECT 1")
        wait_until(lambda: is_stopped(folder))
        assert stranger.poll() is None
        stranger.kill()


@needs_proc
def test_an_interrupted_creation_is_begun_anew(new_folder: Path) -> None:
    creating = subprocess.Popen(
        [sys.executable, "-c", USER, str(new_folder), "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    wait_until(lambda: any(new_folder.glob("data.new-*/PG_VERSION")))
    creating.kill()
    creating.communicate()
    assert not (new_folder / "data").exists()
    with start(new_folder) as server:
        query(server.dsn, "SELECT 1")
    assert not list(new_folder.glob("data.new-*"))


# --- who may connect ----------------------------------------------------------------------------------------------


def test_there_is_no_port_and_the_socket_is_private(folder: Path) -> None:
    with start(folder) as server:
        assert query(server.dsn, "SHOW listen_addresses") == [("",)]
        assert (folder / "run").stat().st_mode & 0o777 == 0o700
        assert (folder / "data").stat().st_mode & 0o077 == 0
        assert folder.stat().st_mode & 0o067 == 0
        assert ":" not in server.dsn.removeprefix("postgresql://"), "no password"


@needs_root
def test_another_user_of_the_machine_is_refused_by_folder_and_by_server(folder: Path) -> None:
    probe = [
        *("setpriv", "--reuid=games", "--regid=games", "--clear-groups"),
        *(str(postgres_cluster.binaries() / "psql"), "-Atc", "SELECT 1"),
    ]
    with start(folder) as server:
        assert subprocess.run([*probe, server.dsn], capture_output=True, check=False).returncode != 0
        for path, mode in ((folder.parent, 0o755), (folder, 0o755), (folder / "run", 0o755)):
            path.chmod(mode)
        (folder / "run/.s.PGSQL.5432").chmod(0o777)
        refused = subprocess.run([*probe, server.dsn], capture_output=True, text=True, check=False)
        assert refused.returncode != 0
        assert "authentication failed" in refused.stderr


@needs_root
def test_an_ordinary_users_server_runs_as_that_user_and_root_may_join(new_folder: Path) -> None:
    name = "games"
    account = pwd.getpwnam(name)
    new_folder.parent.chmod(0o755)
    new_folder.mkdir(mode=0o700)
    os.chown(new_folder, account.pw_uid, account.pw_gid)
    user = subprocess.Popen(
        [*python_for(name), "-c", USER, str(new_folder), "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert user.stdout is not None
        assert user.stdout.readline().startswith("postgresql://")
        assert set(postgres_processes(new_folder).values()) == {account.pw_uid}
        with start(new_folder) as server:
            assert query(server.dsn, "SELECT 1") == [(1,)]
            end(user)
            time.sleep(0.3)
            assert query(server.dsn, "SELECT 1") == [(1,)]
    finally:
        end(user, by_kill=True)
    wait_until(lambda: is_stopped(new_folder))
    # Root starts it again, as its owner, and the owner can still use every file.
    with start(new_folder):
        assert set(postgres_processes(new_folder).values()) == {account.pw_uid}
    wait_until(lambda: is_stopped(new_folder))
    assert {path.stat().st_uid for path in new_folder.iterdir()} == {account.pw_uid}


@needs_root
def test_roots_server_works_below_a_closed_folder_without_opening_it(folder: Path) -> None:
    closed = folder.parent / "closed"
    closed.mkdir(mode=0o700)
    copy(folder, closed / "pg")
    with start(closed / "pg") as server:
        assert query(server.dsn, "SELECT 1") == [(1,)]
        users = set(postgres_processes(closed / "pg").values())
        assert len(users) == 1
        assert 0 not in users
    assert closed.stat().st_mode & 0o777 == 0o700
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    wait_until(lambda: is_stopped(closed / "pg"))


@needs_root
def test_where_no_account_can_enter_the_error_says_to_set_database_url(
    new_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_account, "_held_capabilities", lambda: 0)
    with pytest.raises(CatalogUnavailable, match="DATABASE_URL"):
        start(new_folder)


def test_a_path_too_long_or_too_odd_for_a_socket_gets_a_short_private_one(folder: Path) -> None:
    for place in (folder.parent / ("long" * 30), folder.parent / 'it\'s, 100% "odd" $HOME'):
        copy(folder, place)
        with start(place) as server:
            sockets = Path(conninfo_to_dict(server.dsn)["host"])
            assert not sockets.is_relative_to(place)
            assert sockets.stat().st_mode & 0o777 == 0o700
            assert query(server.dsn, "SELECT 1") == [(1,)]
            server.close(stop_now=True)
        shutil.rmtree(sockets)


def test_somebody_elses_folder_in_the_place_of_the_short_one_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = folder.parent / ("long" * 30)
    copy(folder, place)
    with start(place) as server:
        sockets = Path(conninfo_to_dict(server.dsn)["host"])
        server.close(stop_now=True)
    sockets.chmod(0o777)
    with pytest.raises(CatalogUnavailable, match="private"):
        start(place)
    shutil.rmtree(sockets)


# --- what is refused ----------------------------------------------------------------------------------------------


def test_a_folder_of_something_else_is_refused_and_untouched(new_folder: Path) -> None:
    new_folder.mkdir()
    (new_folder / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not made by Manifold"):
        start(new_folder)
    assert [entry.name for entry in new_folder.iterdir()] == ["thesis.txt"]


def test_data_of_another_major_version_is_refused(folder: Path) -> None:
    (folder / "data/PG_VERSION").write_text("16\n")
    with pytest.raises(CatalogUnavailable, match="PostgreSQL 16"):
        start(folder)


def test_a_data_folder_that_is_no_database_is_refused(folder: Path) -> None:
    shutil.rmtree(folder / "data")
    (folder / "data").mkdir()
    with pytest.raises(ConfigError, match="not a PostgreSQL data folder"):
        start(folder)


@needs_root
def test_a_full_disk_is_told_and_nothing_half_made_stays(new_folder: Path) -> None:
    new_folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(new_folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("may not mount a small file system here")
    try:
        with pytest.raises(NoSpace):
            start(new_folder)
        assert not list(new_folder.glob("data*"))
    finally:
        subprocess.run(["umount", "-l", str(new_folder)], check=True)


def test_a_start_that_hangs_elsewhere_is_given_up_in_time(folder: Path) -> None:
    gate = FileLock(folder / "gate.lock")
    try:
        wait_until(gate.try_exclusive)
        with pytest.raises(CatalogUnavailable, match="starting or stopping"):
            ensure_embedded(folder, start_timeout_seconds=0.2)
    finally:
        gate.close()


# --- what the server gets to know ---------------------------------------------------------------------------------


@needs_proc
def test_the_servers_processes_inherit_no_secret_and_no_open_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", "canary-in-the-environment")
    secret = folder.parent / "secret"
    secret.write_text("x")
    fd = os.open(secret, os.O_RDONLY)
    os.set_inheritable(fd, True)
    our_pipes = {os.readlink(entry) for entry in Path("/proc/self/fd").glob("[012]")}
    our_pipes.discard("/dev/null")
    try:
        with start(folder):
            pids = server_processes(folder)
            assert len(pids) > len(postgres_processes(folder)) > 1
            seen = 0
            for pid in pids:
                try:
                    environment = Path(f"/proc/{pid}/environ").read_bytes()
                    links = {os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()}
                except FileNotFoundError:
                    continue  # one of the server's short-lived helpers
                seen += 1
                assert b"canary" not in environment
                assert str(secret) not in links
                assert not links & our_pipes
            assert seen > 2
    finally:
        os.close(fd)


def test_the_log_tells_nothing_of_the_data_and_stays_small(folder: Path) -> None:
    with start(folder) as server:
        query(server.dsn, "CREATE TABLE t (x text PRIMARY KEY)")
        for _ in range(2):
            try:
                query(server.dsn, "INSERT INTO t VALUES ('canary')")
                query(server.dsn, "SELECT 'canary'::int")
            except psycopg.Error:
                pass
        server.close(stop_now=True)
    log = folder / "server.log"
    assert "canary" not in log.read_text()
    assert "ready to accept connections" in log.read_text()
    with log.open("ab") as file:
        file.truncate(2 << 20)
    start(folder).close(stop_now=True)
    assert log.stat().st_size < 1 << 20
    assert (folder / "server.log.1").stat().st_size == 2 << 20
