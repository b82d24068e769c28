"""Who may use the embedded PostgreSQL, as whom it runs, and what those are told who may not."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from manifold_common.errors import CatalogUnavailable
from manifold_local.embedded.filelock import FileLock
from manifold_local.embedded.postgres_denied import denied
from manifold_local.embedded.postgres_keeper import GATE

from tests.support.embedded import (
    copy,
    end,
    made_server,
    needs_proc,
    needs_root,
    other_process,
    postgres_processes,
    python_for,
    query,
    server_place,
    start,
)

_STRANGER = "games"
"""An ordinary account that every system has."""

_CLIENT = """
import sys
from pathlib import Path
from manifold_local.embedded.postgres import ensure_embedded
ensure_embedded(Path(sys.argv[1]), linger_seconds=0.0).close()
"""
_WITHOUT_CAPABILITIES = ("setpriv", "--bounding-set=-all", sys.executable)


@pytest.fixture(scope="module")
def made_folder() -> Iterator[Path]:
    with made_server() as place:
        yield place


@pytest.fixture
def folder(made_folder: Path) -> Iterator[Path]:
    with server_place() as place:
        copy(made_folder, place)
        yield place


def refusal(python: Sequence[str], folder: Path) -> str:
    """Return the last line of what a client in another process fails with; it must not take long."""
    done = subprocess.run([*python, "-c", _CLIENT, folder], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1, done.stdout
    return done.stderr.splitlines()[-1]


@needs_proc
def test_a_client_that_waits_for_the_server_keeps_nobody_out(folder: Path) -> None:
    with start(folder, linger_seconds=60):
        state = folder / "data" / "postmaster.pid"
        ready = state.read_text()
        state.write_text(ready.replace("ready   ", "starting"))  # as during a long recovery
        waiting = subprocess.Popen([sys.executable, "-c", _CLIENT, folder])
        joined = FileLock(folder / "users.lock")
        gate = FileLock(folder / GATE)
        try:
            while _holders(joined) < 2:
                assert waiting.poll() is None
            for _ in range(20):
                assert gate.wait_exclusive(0.5)
                gate.release()
            assert waiting.poll() is None
            state.write_text(ready)
            assert waiting.wait(30) == 0
        finally:
            gate.close()
            joined.close()
            waiting.kill()
            waiting.wait()


def _holders(lock: FileLock) -> int:
    """Return how many processes and threads hold a lock."""
    inode = os.fstat(lock.fd).st_ino
    return sum(f":{inode} " in line and "->" not in line for line in Path("/proc/locks").read_text().splitlines())


@needs_root
@needs_proc
def test_a_root_that_may_not_reach_the_server_is_told_so_at_once_and_others_go_on(folder: Path) -> None:
    folder.parent.chmod(0o755)
    with start(folder, linger_seconds=60) as server:
        said = refusal(_WITHOUT_CAPABILITIES, folder)
        owner = pwd.getpwuid((folder / "data").stat().st_uid).pw_name
        assert f"root (user id 0) may not use the database in {folder}: {folder}/data" in said
        assert f"belongs to {owner} and is closed to others" in said
        assert "CAP_DAC_OVERRIDE" in said
        end(other_process(folder))
        assert query(server.dsn, "SELECT 1") == [(1,)]


@needs_root
def test_another_user_is_told_whose_the_database_is_and_how_to_use_it(folder: Path) -> None:
    folder.parent.chmod(0o755)
    with start(folder):
        folder.chmod(0o777)
        said = refusal(python_for(_STRANGER), folder)
    uid = pwd.getpwnam(_STRANGER).pw_uid
    assert (
        f"{_STRANGER} (user id {uid}) may not use the database in {folder}: {folder}/gate.lock belongs to root" in said
    )
    assert "run the command as root, with 'sudo manifold ...'" in said


@needs_root
@pytest.mark.parametrize("account", ["nobody", "daemon", "www-data"])
def test_no_server_runs_as_an_account_that_other_software_shares(account: str) -> None:
    entry = pwd.getpwnam(account)
    with server_place() as place:
        place.parent.chmod(0o755)
        place.mkdir(mode=0o700)
        os.chown(place, entry.pw_uid, entry.pw_gid)
        said = refusal(python_for(account), place)
        assert f"does not run as {account}: other software may run as that account too" in said
        assert "useradd --system --user-group --no-create-home --shell /usr/sbin/nologin manifold" in said
        assert not (place / "data").exists()


@needs_root
@needs_proc
def test_a_server_that_ran_as_nobody_runs_again_once_its_files_are_given_away_as_the_hint_says(folder: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    for place in ("data", "run"):
        subprocess.run(["chown", "-R", f"{nobody.pw_uid}:{nobody.pw_gid}", folder / place], check=True)
    with pytest.raises(CatalogUnavailable, match="does not run as nobody") as refused:
        start(folder)
    assert not postgres_processes(folder)
    command = re.search(r"chown -R [^;]*", refused.value.hint or "")
    assert command
    subprocess.run(shlex.split(command[0]), check=True)
    with start(folder) as server:
        assert query(server.dsn, "SELECT 1") == [(1,)]
        assert nobody.pw_uid not in postgres_processes(folder).values()


@needs_root
@needs_proc
def test_root_has_its_account_made_where_there_is_none_and_is_told_how_where_that_fails() -> None:
    """In a copy of /etc that only these processes see."""
    with server_place() as place:
        etc = place.parent / "etc"
        script = f"""
            cp -a /etc/. {etc} && sed -i '/^manifold:/d; /^postgres:/d' {etc}/passwd {etc}/shadow {etc}/group
            mount --bind {etc} /etc && mount -o remount,ro,bind /etc || exit 77
            {sys.executable} -c '{_CLIENT}' {place} 2>&1 | tail -n 1
            mount -o remount,rw,bind /etc
            {sys.executable} -c '{_CLIENT}' {place} && getent passwd manifold
        """
        unshared = ["unshare", "--mount", "sh", "-c", script]
        ran = subprocess.run(unshared, capture_output=True, text=True, timeout=120, check=False)
        if ran.returncode == 77 or "unshare:" in ran.stderr:
            pytest.skip("this process may not make a mount namespace")
        told, made = ran.stdout.splitlines()
        assert "refuses to run as root" in told
        assert "useradd --system --user-group --no-create-home --shell /usr/sbin/nologin manifold" in told
        assert made.startswith("manifold:")
        assert made.endswith("/nologin")
        assert ran.stderr.count("made the system account manifold") == 1


@needs_root
def test_a_user_without_an_entry_is_told_to_add_one() -> None:
    with server_place() as place:
        place.parent.chmod(0o755)
        place.mkdir(mode=0o700)
        os.chown(place, 54321, 54321)
        said = refusal(python_for(54321), place)
        assert "user id 54321 has no entry in the system's account database" in said
        assert "RUN useradd --uid 54321 --no-create-home manifold" in said


def test_the_command_of_a_hint_names_the_folder_as_a_shell_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "my data; touch planted"
    folder.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid or 1)
    os.chown(folder, os.geteuid(), -1)
    hint = denied(folder, PermissionError(13, "no", "gate.lock")).hint or ""
    command = re.search("(sudo .*); or set", hint)
    assert command
    assert shlex.split(command[1])[-1] == str(folder)
