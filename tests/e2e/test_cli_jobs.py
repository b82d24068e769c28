"""``manifold jobs``: what a person does with work that goes on in the background, and takes its time."""

from __future__ import annotations

import json
import re
import shlex
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from manifold_common.adapters.system.clock import SystemClock
from manifold_common.bootstrap import build_catalog
from manifold_common.errors import ErrorKind
from manifold_common.ids import DEFAULT_TENANT, DEFAULT_USER, parse_job_id
from manifold_common.ports.catalog import NewJob
from manifold_common.settings import load_settings
from manifold_local.cli.exit_codes import EXIT_CODES

from tests.contract.test_commands import PROGRAM
from tests.e2e.test_cli_keys import KEY, UNAVAILABLE, create, keystore
from tests.support.cli import Program
from tests.support.hints import commands_in, named_commands, obey
from tests.support.openbao import OpenBao
from tests.support.shown import blocks
from tests.support.waiting import wait_until
from tests.support.zygote import Zygote

CONFLICT, CORRUPT, INVALID, NOT_FOUND = (
    EXIT_CODES[kind] for kind in (ErrorKind.CONFLICT, ErrorKind.CORRUPT, ErrorKind.INVALID, ErrorKind.NOT_FOUND)
)
pytestmark = pytest.mark.in_memory("each test has master keys of its own")


@pytest.fixture
def program(tmp_path: Path, ram_folder: Path, empty_postgres_dsn: str, zygote: Zygote) -> Program:
    made = Program(tmp_path, ram_folder / "ram", zygote, {"DATABASE_URL": empty_postgres_dsn})
    made("migrate-db")
    return made


def jobs(program: Program, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = program.json("jobs", "list", *arguments)["items"]
    return found


def show(program: Program, job: str) -> dict[str, Any]:
    found: dict[str, Any] = program.json("jobs", "show", job)
    return found


def execute(program: Program, statement: str) -> int:
    with psycopg.connect(program.variables["DATABASE_URL"], autocommit=True) as database:
        return database.execute(statement.encode()).rowcount


def add_jobs(program: Program, *ids: str) -> None:
    """Have jobs of a kind that is known to nobody: nobody works on them."""
    settings = load_settings(environ=program.environ(), cwd=program.folder)
    catalog = build_catalog(settings, program.variables["DATABASE_URL"], SystemClock())
    for one in ids:
        new = NewJob(DEFAULT_TENANT, parse_job_id(one), "other", f'{{"number":"{one}"}}', DEFAULT_USER, None, None)
        catalog.add_job(new)
    catalog.close()


@pytest.fixture
def stuck(program: Program) -> str:
    """Return the id of a job about three projects' keys, which no longer can be opened."""
    create(program, "one", "two", "three")
    keystore(program).rotate()
    (program.folder / "workdir/.keystore/default/1.key").rename(program.folder / "aside")
    done = json.loads(program("keys", "rewrap", "--json", code=UNAVAILABLE).stdout)
    return str(done["job"]["id"])


def bring_back(program: Program) -> None:
    (program.folder / "aside").rename(program.folder / "workdir/.keystore/default/1.key")


def test_a_job_that_waits_for_a_key_says_so_and_goes_on_once_that_is_back(program: Program, stuck: str) -> None:
    (row,) = jobs(program)
    assert (row["id"], row["kind"], row["state"], row["pending"], row["planned"]) == (
        stuck,
        "rewrap",
        "running",
        3,
        True,
    )
    table = program.text("jobs", "list").splitlines()
    assert table[0].split() == ["ID", "KIND", "STATE", "PROGRESS", "FAILED", "STARTED"]
    assert re.match(rf"{stuck}  rewrap  running, rests +0 of 3 +0  ", table[1])

    job = show(program, stuck)
    assert (job["trouble"]["error"], len(job["troubles"])) == ("key_unavailable", 3)
    shown = program("jobs", "show", stuck[:4])
    said = shown.stdout.decode()
    assert f"job {stuck} (rewrap) is running: 0 of 3" in said
    assert "items: 3 to be done" in said
    assert re.search(r"^  rests until \d\d:\d\d:\d\d: ", said, re.MULTILINE)
    items = re.findall(r"^item (\d) \(default/\S+\) is tried again at \S+ \(begun 1 time\): (.+)$", said, re.MULTILINE)
    assert [number for number, _ in items] == ["1", "2", "3"]
    commands = named_commands(shown.stderr.decode())
    assert commands == [["jobs", "show", stuck, "--items"], ["jobs", "retry", stuck]]

    bring_back(program)
    assert b"0 items brought to an end" in program("jobs", "work", stuck, code=UNAVAILABLE).stdout, "it rests yet"
    obey(program, f"manifold {' '.join(commands[1])}")
    worked = program.json("jobs", "work", stuck[:8])
    assert [one["state"] for one in worked["jobs"]] == ["done"]
    done = program.text("jobs", "show", stuck)
    assert f"job {stuck} (rewrap) is done: 3 of 3" in done
    assert "over since" in done and "item 1" not in done
    assert program.json("keys", "status")["not_current"] == 0


def test_the_items_of_a_job_are_listed_to_the_last(program: Program, stuck: str) -> None:
    more = """
        INSERT INTO job_items (tenant_id, job_id, number, item, state, changed_at)
        SELECT tenant_id, job_id, n, 'item ' || n, 'done', now() FROM jobs, generate_series(4, 1203) AS n"""
    assert execute(program, more) == 1200
    page = program.json("jobs", "show", stuck, "--items")
    assert [item["number"] for item in page["items"]] == list(range(1, 1204))
    assert page["next_cursor"] is None
    pending = program.json("jobs", "show", stuck, "--items", "--state", "pending")["items"]
    assert [(item["number"], item["error"]) for item in pending] == [(n, "key_unavailable") for n in (1, 2, 3)]
    both = program.json("jobs", "show", stuck, "--items", "--state", "pending", "--state", "done")["items"]
    assert both == page["items"]
    table = program.text("jobs", "show", stuck, "--items").splitlines()
    assert table[0].split() == ["ITEM", "WHAT", "STATE", "BEGUN", "CHANGED", "ERROR"]
    assert len(table) == 1204
    assert "(begun 1 time): " in table[1] and table[4].endswith("-")
    assert program.error("jobs", "show", stuck, "--state", "done", code=INVALID)["hint"] == "add --items"
    assert program.text("jobs", "show", stuck, "--items", "--state", "failed") == ""


def test_a_job_is_held_up_gone_on_with_and_ended(program: Program, stuck: str) -> None:
    bring_back(program)
    assert program.text("jobs", "pause", stuck).startswith(f"job {stuck} (rewrap) is paused")
    assert program.json("jobs", "pause", stuck)["state"] == "paused", "said again, it stays so"
    for command in (("jobs", "work", stuck), ("keys", "rewrap")):
        refused = program.error(*command, code=CONFLICT)
        assert refused["code"] == "job_ended" and refused["details"]["state"] == "paused"
    assert program.json("jobs", "work") == {"finished": 0, "jobs": []}
    assert program.text("jobs", "work") == "there is nothing to do for now\n"
    (resume,) = commands_in(program("jobs", "work", stuck, code=CONFLICT).stderr.decode())
    assert b"is running" in obey(program, resume).stdout
    assert program.json("jobs", "cancel", stuck)["state"] == "cancelled"
    for verb in ("pause", "resume", "retry"):
        assert program.error("jobs", verb, stuck, code=CONFLICT)["code"] == "job_ended"
    assert program.json("keys", "status")["not_current"] == 3, "what was not begun never will be"
    for verb in ("watch", "work"):
        assert b"is cancelled" in program("jobs", verb, stuck, code=CONFLICT).stdout
    program("keys", "rewrap")
    assert [job["state"] for job in jobs(program)] == ["done", "cancelled"]


def test_all_jobs_that_are_running_are_worked_on(program: Program, stuck: str) -> None:
    program("keys", "rewrap", "-p", "two", code=UNAVAILABLE)
    add_jobs(program, "y" * 25 + "a")
    bring_back(program)
    for job in jobs(program, "--kind", "rewrap"):
        program("jobs", "retry", job["id"])
    worked = program.json("jobs", "work")
    assert {job["id"] for job in worked["jobs"]} == {job["id"] for job in jobs(program, "--kind", "rewrap")}
    assert worked["finished"] == 4
    assert sum(job["done"] for job in worked["jobs"]) == 3, "of one key both have found that it is done or did it"
    unknown = program("jobs", "work", "y" * 25 + "a", code=INVALID)
    assert b"this release has no kind of job 'other'" in unknown.stdout


def test_a_list_is_filtered_and_has_the_newest_first(program: Program) -> None:
    ids = [f"{letter}{'b' * 24}a" for letter in "cdefghijklmnopqrstuvwxyz"]
    add_jobs(program, *ids)
    assert [job["id"] for job in jobs(program)] == ids[::-1]
    short = program("jobs", "list")
    assert [line.split()[0] for line in short.stdout.decode().splitlines()[1:]] == ids[:-21:-1]
    assert b"there are more: --all lists them" in short.stderr
    assert len(program.text("jobs", "list", "--all").splitlines()) == 1 + len(ids)

    program("jobs", "cancel", ids[0])
    program("jobs", "pause", ids[1])
    assert [job["id"] for job in jobs(program, "--state", "paused", "--state", "cancelled")] == [ids[1], ids[0]]
    assert jobs(program, "--kind", "rewrap") == []
    assert b"there are no such jobs" in program("jobs", "list", "--kind", "rewrap").stderr
    (project,) = create(program, "mine")
    keystore(program).rotate()
    program("keys", "rewrap", "-p", "mine")
    assert [job["project"] for job in jobs(program, "--project", "mine")] == [project]
    assert program.error("jobs", "list", "-p", "nobody", code=NOT_FOUND)


def test_the_beginning_of_an_id_will_do_if_it_is_of_one_job(program: Program) -> None:
    one, other = "abcd" + "b" * 21 + "a", "abcd" + "c" * 21 + "a"
    add_jobs(program, one, other)
    assert show(program, "abcdb")["id"] == one
    assert program.json("jobs", "pause", "abcdc")["id"] == other
    ambiguous = program.error("jobs", "show", "abcd", code=INVALID)["message"]
    assert f"{one} (other, running)" in ambiguous and f"{other} (other, paused)" in ambiguous
    assert "4 characters" in program.error("jobs", "show", "abc", code=INVALID)["hint"]
    for unknown in ("wxyz", "b" * 25 + "a", "x" * 40):
        error = program.error("jobs", "show", unknown, code=NOT_FOUND)
        assert error["hint"] in ("manifold jobs list", "'manifold jobs list --all' has all")
    for begins, offered in (("abcd", {one, other}), ("abcdb", {one}), ("z", set())):
        completed = program(
            _MANIFOLD_COMPLETE="complete_bash", COMP_WORDS=f"manifold jobs show {begins}", COMP_CWORD="3"
        )
        assert set(completed.stdout.decode().split()) == offered


def test_who_watches_a_job_is_told_how_it_ends(program: Program, stuck: str) -> None:
    with program.start("jobs", "watch", stuck, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as watching:
        bring_back(program)
        program("keys", "rewrap")
        out, _ = watching.communicate(timeout=60)
    assert watching.returncode == 0
    assert f"job {stuck} (rewrap) is done: 3 of 3".encode() in out
    assert program.json("jobs", "watch", stuck)["state"] == "done", "one that is over is told of at once"
    assert program("jobs", "watch", stuck, "--quiet").stderr == b""


def test_who_watches_a_job_that_fails_ends_as_its_worst_error_says(program: Program) -> None:
    create(program, "one", "two")
    keystore(program).rotate()
    assert execute(program, "UPDATE project_keys SET ciphertext = substr(ciphertext, 1, 40)") == 2
    program("keys", "rewrap", code=CORRUPT)
    (job,) = jobs(program, "--state", "failed")
    for verb in ("watch", "work"):
        said = program("jobs", verb, job["id"], code=CORRUPT)
        assert len(re.findall(rb"^item \d \(.*\) failed: ", said.stdout, re.MULTILINE)) == 2
    assert program("jobs", "show", job["id"]).returncode == 0, "it only tells"
    assert program.json("jobs", "retry", job["id"])["state"] == "running"


def test_interrupted_a_watcher_leaves_the_job_as_it_is(program: Program, stuck: str) -> None:
    program("jobs", "pause", stuck)
    before = show(program, stuck)
    with program.start("jobs", "watch", stuck, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as watching:
        assert watching.stderr is not None
        (resume,) = commands_in(watching.stderr.readline().decode())
        assert resume.endswith(f"jobs resume {stuck}")
        watching.send_signal(signal.SIGINT)
        out, error = watching.communicate(timeout=60)
    assert (watching.returncode, out) == (130, b"")
    assert error.decode().endswith(f"note: job {stuck} stays as it is\n")
    assert show(program, stuck) == before


def test_two_that_rewrap_at_once_finish_one_job(program: Program) -> None:
    create(program, *map(str, range(12)))
    keystore(program).rotate()
    both = [
        program.start("keys", "rewrap", "--rate", "3", stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)
    ]
    for one in both:
        out, error = one.communicate(timeout=60)
        assert one.returncode == 0, error
        assert re.fullmatch(r"\d+ data keys? wrapped under file default version 2\n", out.decode())
    (job,) = jobs(program)
    assert (job["state"], job["done"], job["pending"]) == ("done", 12, 0)
    items = program.json("jobs", "show", job["id"], "--items")["items"]
    assert [item["begun"] for item in items] == [1] * 12


@pytest.fixture
def leaving(program: Program, openbao: OpenBao, transit_mount: str) -> dict[str, str]:
    """Have keys of two projects under a Vault's master key, and keys of a keystore from now on. Return the variable
    that names the Vault."""
    openbao.make_key(KEY, transit_mount, derived=True)
    token = openbao.make_token(openbao.make_least_policy(transit_mount, KEY), period="24h")
    program.variables |= {"VAULT_ADDR": openbao.url, "VAULT_TOKEN": token}
    program.variables |= {"VAULT_MOUNT_PATH": transit_mount, "VAULT_KEY_NAME": KEY}
    for name in ("one", "two"):
        program("project", "create", name, PROJECTS_ENCRYPTION_PROVIDER="vault")
    return {"VAULT_ADDR": openbao.url}


@contextmanager
def amid_an_item(program: Program, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a command that is amid an item: the Vault has taken its connection, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        program.variables["VAULT_ADDR"] = "http://{}:{}".format(*server.getsockname())
        with program.start(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
            held, _ = server.accept()
            with held:
                yield running


def test_interrupted_a_rewrap_says_how_to_go_on_and_holds_nothing(program: Program, leaving: dict[str, str]) -> None:
    with amid_an_item(program, "keys", "rewrap") as running:
        running.send_signal(signal.SIGINT)
        out, error = running.communicate(timeout=60)
    assert (running.returncode, out) == (130, b"")
    said = error.decode()
    assert "Traceback" not in said
    (work,) = commands_in(said)
    program.variables |= leaving
    (job,) = jobs(program)
    assert (job["state"], job["pending"]) == ("running", 2)
    done = obey(program, work)
    assert b"is done: 2 of 2" in done.stdout and b"2 items brought to an end" in done.stdout
    assert b"waits for" not in done.stderr


def test_killed_amid_an_item_a_rewrap_is_finished_by_the_next(program: Program, leaving: dict[str, str]) -> None:
    with amid_an_item(program, "keys", "rewrap") as running:
        running.kill()
        running.communicate(timeout=60)
    program.variables |= leaving
    with program.start("keys", "rewrap", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as again:
        assert again.stderr is not None
        assert b"goes on with job" in again.stderr.readline()
        assert b"waits for what another worker holds" in again.stderr.readline()
        assert execute(program, "UPDATE job_items SET leased_until = now()") == 2, "as if its time was over"
        out, error = again.communicate(timeout=60)
    assert (again.returncode, out.decode()) == (0, "2 data keys wrapped under file default version 1\n"), error
    (job,) = jobs(program)
    items = program.json("jobs", "show", job["id"], "--items")["items"]
    assert [(item["state"], item["begun"]) for item in items] == [("done", 2)] * 2


def test_while_the_current_provider_is_away_a_job_rests_as_a_whole(program: Program, leaving: dict[str, str]) -> None:
    vault = {"PROJECTS_ENCRYPTION_PROVIDER": "vault"}
    program("project", "create", "three")
    with amid_an_item(program, "keys", "rewrap") as running:
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=60)
    assert running.returncode == 143
    (job,) = jobs(program)
    gone = {**vault, "VAULT_ADDR": "http://127.0.0.1:1"}
    assert execute(program, "DELETE FROM job_items") == 2
    assert execute(program, "UPDATE jobs SET is_planned = false, pending = 0") == 1
    said = program("jobs", "work", job["id"], code=UNAVAILABLE, **gone).stdout.decode()
    assert re.search(r"^  rests until \S+: ", said, re.MULTILINE)
    assert "more may be found" in said
    program.variables |= leaving
    worked = program.json("jobs", "work", job["id"], **vault)
    assert [(one["state"], one["done"]) for one in worked["jobs"]] == [("done", 1)]


def test_events_of_jobs_are_told(program: Program) -> None:
    create(program, "one")
    keystore(program).rotate()
    program("keys", "rewrap")
    (job,) = jobs(program)
    wait_until(lambda: b"job.done" in program("events", "tail").stdout)
    told = [line for line in program.text("events", "tail").splitlines() if "job." in line]
    assert [line.split()[2:] for line in told] == [
        [f"job.{state}", job["id"], "kind", "rewrap", "by", "local"] for state in ("running", "done")
    ]


def test_the_commands_that_the_page_shows(program: Program) -> None:
    (shown,) = (block for block in blocks() if block.name.startswith("docs/jobs.md: manifold jobs list"))
    one, other, over = "abcd" + "b" * 21 + "a", "bcde" + "c" * 21 + "a", program.json("keys", "rewrap")["job"]["id"]
    answered = program.json("restore", program.project({"a.txt": b"one\n"}), "1", "--background")["id"]
    program("jobs", "work", answered)
    add_jobs(program, one, other)
    commands = [shlex.split(line, comments=True)[1:] for line in shown.text.splitlines()]
    assert {command[1] for command in commands} == set(PROGRAM.commands["jobs"].commands)
    for command in commands:
        fitting = {"watch": over, "cancel": other, "result": answered}.get(command[1], one)
        program(*(fitting if word == "JOB" else word for word in command))
