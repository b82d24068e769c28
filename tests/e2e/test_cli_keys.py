"""``manifold keys``: what an operator does after a master key was rotated, lost or replaced."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest
from manifold_common.adapters.keyfile.provider import FileKeyProvider
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.errors import ErrorKind
from manifold_local.cli.exit_codes import EXIT_CODES

from tests.support.cli import Program
from tests.support.hints import named_commands, obey
from tests.support.openbao import OpenBao
from tests.support.shown import run_shown
from tests.support.zygote import Zygote

KEY = "manifold-kek"
UNAVAILABLE = EXIT_CODES[ErrorKind.UNAVAILABLE]
pytestmark = pytest.mark.in_memory("each test has master keys of its own")


@pytest.fixture
def program(tmp_path: Path, ram_folder: Path, empty_postgres_dsn: str, zygote: Zygote) -> Program:
    made = Program(tmp_path, ram_folder / "ram", zygote, {"DATABASE_URL": empty_postgres_dsn})
    made("migrate-db")
    return made


def keystore(program: Program, key_name: str = "default") -> FileKeyProvider:
    folder = program.folder / "workdir" / ".keystore"
    return FileKeyProvider(folder, key_name=key_name, clock=SystemClock(), randomness=SystemRandomness())


def create(program: Program, *names: str) -> list[str]:
    return [program.json("project", "create", name)["id"] for name in names]


def uses(status: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [(u["provider"], u["key_name"], u["key_version"], u["keys"], u["current"]) for u in status["master_keys"]]


def test_after_a_rotation_status_says_what_is_left_and_rewrap_does_it(program: Program) -> None:
    one, two, gone = create(program, "one", "two", "gone")
    program("project", "delete", "gone", "--yes")
    before = program.json("keys", "status")
    assert uses(before) == [("file", "default", 1, 3, True)]
    assert (before["not_current"], before["unreadable"], before["retirable"], before["opened"]) == (0, [], [], True)
    assert {key["project"] for key in before["keys"]} == {one, two, gone}
    assert keystore(program).rotate() == 2

    status = program.json("keys", "status", "--no-open")
    assert uses(status) == [("file", "default", 1, 3, False)]
    assert (status["current"]["key_version"], status["not_current"], status["opened"]) == (2, 3, False)
    told = program("keys", "status")
    assert b"3 data keys are not under the current master key" in told.stdout
    assert named_commands(told.stderr.decode()) == [["keys", "rewrap"]]

    dry = program.json("keys", "rewrap", "--dry-run")
    assert (dry["dry_run"], {key["project"] for key in dry["would_rewrap"]}) == (True, {one, two, gone})
    assert program.json("keys", "status")["not_current"] == 3, "nothing was done"
    done = program.json("keys", "rewrap", "--project", "two")
    job = done["job"]
    assert (job["state"], job["done"], job["project"], job["params"]) == ("done", 1, two, {"project": two})
    assert done["current"]["key_version"] == 2
    assert uses(program.json("keys", "status")) == [("file", "default", 1, 2, False), ("file", "default", 2, 1, True)]
    (key,) = program.json("keys", "status", "-p", "two")["keys"]
    assert (key["project"], key["key_version"]) == (two, 2)
    assert "2 data keys wrapped under file default version 2" in program.text("keys", "rewrap")

    after = program.json("keys", "status")
    assert uses(after) == [("file", "default", 2, 3, True)]
    assert after["retirable"] == [{"provider": "file", "key_name": "default", "below": 2}]
    assert "no data key needs versions of default (file) below 2" in program.text("keys", "status")
    nothing = program.json("keys", "rewrap")
    assert (nothing["current"], nothing["job"]["state"], nothing["job"]["done"]) == (after["current"], "done", 0)
    assert one in program.text("keys", "status", "--all")


def test_keys_that_cannot_be_opened_are_named_and_the_others_are_rewrapped(program: Program) -> None:
    lost = create(program, "lost")
    other = {"PROJECTS_ENCRYPTION_FILE_KEY_NAME": "other"}
    kept = program.json("project", "create", "kept", **other)["id"]
    (program.folder / "workdir" / ".keystore" / "default" / "1.key").rename(program.folder / "aside")

    def status(code: int) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(program("keys", "status", "--json", code=code, **other).stdout)
        return found

    (bad,) = status(UNAVAILABLE)["unreadable"]
    assert (bad["project"], bad["key_name"], bad["error"]) == (lost[0], "default", "key_unavailable")
    keystore(program, "other").rotate()
    done = program("keys", "rewrap", code=UNAVAILABLE, **other)
    assert b"1 data key wrapped under file other version 2" in done.stdout
    said = done.stdout.decode()
    assert re.search(rf"project {lost[0]} \(file default version 1\) is tried again at .* \(begun 1 time\): ", said)
    assert named_commands(done.stderr.decode())[0][:2] == ["jobs", "work"]
    (program.folder / "aside").rename(program.folder / "workdir" / ".keystore" / "default" / "1.key")
    again = program("keys", "rewrap", "--rate", "7", **other)
    assert b"1 data key wrapped under file other version 2" in again.stdout, "run again, it goes on with what is left"
    assert re.search(rb"goes on with job \w{26}, which was started [^,]*\n", again.stderr)
    assert uses(status(0)) == [("file", "other", 2, 2, True)]
    assert program.json("project", "show", kept, **other)["name"] == "kept"


def test_a_key_that_is_damaged_stays_as_it_was_and_the_others_are_done(program: Program) -> None:
    damaged, _ = create(program, "damaged", "sound")
    keystore(program).rotate()
    with psycopg.connect(program.variables["DATABASE_URL"], autocommit=True) as database:
        cut = "UPDATE project_keys SET ciphertext = substr(ciphertext, 1, 40) WHERE project_id = %s"
        assert database.execute(cut, (damaged,)).rowcount == 1
    corrupt = EXIT_CODES[ErrorKind.CORRUPT]
    done = program("keys", "rewrap", code=corrupt)
    assert b"1 data key wrapped under file default version 2" in done.stdout
    assert f"project {damaged} (file default version 1) stays as it was: ".encode() in done.stdout
    assert b"jobs work" not in done.stderr, "the job is over"
    again = json.loads(program("keys", "rewrap", "--json", code=corrupt).stdout)["job"]
    assert (again["state"], again["failed"], again["done"]) == ("failed", 1, 0)
    assert [item["error"] for item in again["troubles"]] == ["corrupt_object"]


def test_a_rate_is_kept_and_one_that_is_none_is_refused(program: Program) -> None:
    create(program, *map(str, range(4)))
    keystore(program).rotate()
    begun = time.monotonic()
    job = program.json("keys", "rewrap", "--rate", "2")["job"]
    assert time.monotonic() - begun > 1
    assert (job["state"], job["done"], job["rate"]) == ("done", 4, 2.0)
    for rate in ("0", "-1", "nan", "inf", "fast"):
        assert "rate" in program.error("keys", "rewrap", "--rate", rate, code=EXIT_CODES[ErrorKind.INVALID])["message"]


def test_without_encryption_or_at_a_server_it_says_what_to_do(program: Program) -> None:
    plain = {"PROJECTS_ENCRYPT": "false"}
    create(program, "sealed")
    status = program.json("keys", "status", **plain)
    assert (status["current"], len(status["keys"])) == (None, 1)
    refused = program("keys", "rewrap", code=EXIT_CODES[ErrorKind.INVALID], **plain)
    assert b"PROJECTS_ENCRYPT" in refused.stderr
    assert program.json("jobs", "list")["items"] == []
    for command in ("status", "rewrap"):
        error = program.error("keys", command, "--remote", "http://127.0.0.1:1", code=EXIT_CODES[ErrorKind.INVALID])
        assert "works on its own machine alone" in error["message"]
        assert "MANIFOLD_REMOTE" in error["hint"]
    assert program.error("keys", "rewrap", "-p", "nobody", code=EXIT_CODES[ErrorKind.NOT_FOUND])


def test_the_way_out_of_a_retired_version_is_walked_to_the_letter(
    program: Program, openbao: OpenBao, transit_mount: str
) -> None:
    """What the error says about a Transit key whose old versions were closed too early."""
    openbao.make_key(KEY, transit_mount, derived=True)
    token = openbao.make_token(openbao.make_least_policy(transit_mount, KEY), period="24h")
    program.variables |= {
        "PROJECTS_ENCRYPTION_PROVIDER": "vault", "VAULT_ADDR": openbao.url, "VAULT_TOKEN": token,
        "VAULT_MOUNT_PATH": transit_mount, "VAULT_KEY_NAME": KEY,
    }  # fmt: skip
    (project,) = create(program, "demo")
    openbao.rotate(KEY, transit_mount)
    openbao.call("POST", f"{transit_mount}/keys/{KEY}/config", {"min_decryption_version": 2})
    said = program("keys", "status", code=UNAVAILABLE).stdout.decode()
    assert f"project {project} (vault {KEY} version 1) cannot be opened" in said

    vault = re.search(r"'vault write (\S+) (\w+)=(\d+)'", said)
    assert vault is not None
    openbao.call("POST", vault[1], {vault[2]: int(vault[3])})
    for command in named_commands(said):
        obey(program, f"manifold {' '.join(command)}")
    status = program.json("keys", "status")
    assert (uses(status), status["unreadable"]) == ([("vault", KEY, 2, 1, True)], [])
    assert status["retirable"] == [{"provider": "vault", "key_name": KEY, "below": 2}]
    openbao.call("POST", vault[1], {vault[2]: status["retirable"][0]["below"]})
    assert program.json("keys", "status")["unreadable"] == []
    assert program.json("project", "show", "demo")["id"] == project


def test_a_master_key_is_rotated_and_data_keys_go_to_another_one_and_back(program: Program) -> None:
    create(program, "one")
    rotated = program.json("keys", "rotate")
    assert [(rotated[when]["key_name"], rotated[when]["key_version"]) for when in ("before", "current")] == [
        ("default", 1), ("default", 2),
    ]  # fmt: skip
    assert named_commands(program("keys", "rotate").stderr.decode()) == [["keys", "rewrap"]]
    assert uses(program.json("keys", "status")) == [("file", "default", 1, 1, False)]

    invalid = EXIT_CODES[ErrorKind.INVALID]
    for options in ([], ["--dry-run"]):
        refused = program.error("keys", "rewrap", *options, "--to", "file/other", code=invalid)
        assert "has no key 'other'" in refused["message"] and "there is: default; " in refused["hint"]
        assert "--create" in refused["hint"]
    assert program.json("jobs", "list")["items"] == []
    plan = program.json("keys", "rewrap", "--dry-run", "--to", "file/other", "--create")
    assert (plan["current"]["key_name"], plan["projects"], len(plan["would_rewrap"]), plan["requests"]) == (
        "other", 1, 1, {},
    )  # fmt: skip
    told = program("keys", "rewrap", "--dry-run", "--to", "file/other", "--create")
    assert b"1 data key of 1 project is not under file other" in told.stdout
    assert b"takes no request to a key service" in told.stdout
    (command,) = named_commands(told.stderr.decode())
    assert command == ["keys", "rewrap", "--to", "file/other", "--create"]
    assert "1 data key wrapped under file other version 1" in program.text(*command)
    assert uses(program.json("keys", "status")) == [("file", "other", 1, 1, False)]
    assert program.json("keys", "rewrap")["current"]["key_version"] == 3
    assert uses(program.json("keys", "status")) == [("file", "default", 3, 1, True)]
    program.error("keys", "rewrap", "--create", code=invalid)
    assert "'vault' is not configured" in program.error("keys", "rewrap", "--to", "vault/x", code=invalid)["message"]
    for odd in ("", "file/", "file/a/b", "/"):
        program.error("keys", "rewrap", "--to", odd, code=invalid)


def test_the_commands_that_the_page_shows(program: Program) -> None:
    create(program, "one")
    run_shown("docs/keys.md: manifold keys rotate", environ=program.environ(), cwd=program.folder)
    done = run_shown("docs/keys.md: manifold keys status", environ=program.environ(), cwd=program.folder)
    assert done.stdout.count("default") >= 2
    assert "version 2" in done.stdout
    done = run_shown("docs/keys.md: manifold keys rewrap", environ=program.environ(), cwd=program.folder)
    assert "1 data key wrapped under file second version 1" in done.stdout
