"""Tags as people use them: on this machine and at a server."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import EXECUTABLE, Program
from tests.support.host import Host
from tests.support.zygote import Zygote


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    ram = Path("/dev/shm") / f"manifold-test-{secrets.token_hex(6)}"
    host = Host(folder / "workdir", ram)
    try:
        yield str(host.ready().base_url).rstrip("/")
    finally:
        host.stop()
        shutil.rmtree(ram, ignore_errors=True)


@pytest.fixture(params=["here", "at a server"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path, ram_folder: Path, zygote: Zygote) -> Program:
    if request.param == "here":
        found: Program = request.getfixturevalue("program")
        return found
    return Program(tmp_path, ram_folder / "laptop", zygote, {"MANIFOLD_REMOTE": request.getfixturevalue("url")})


def with_generations(program: Program, count: int = 3) -> str:
    """Return the name of a project in which each generation's file says which it is."""
    name = program.project({"a": b"1"})
    source = program.folder / f"source-{name}"
    for number in range(2, count + 1):
        (source / "a").write_text(str(number))
        program("import", name, source)
    return name


def test_a_tag_is_made_moved_listed_and_removed(anywhere: Program) -> None:
    name = with_generations(anywhere)
    assert anywhere.text("tag", name, "1", "release-1") == "release-1 is generation 1\n"
    assert anywhere.text("tag", name, "1", "release-1") == "release-1 is generation 1\n"
    error = anywhere.error("tag", name, "2", "release-1", code=4)
    assert (error["code"], error["details"]["generation"]) == ("already_exists", 1)
    assert "manifold tag PROJECT 2 release-1 --move" in error["hint"]
    moved = anywhere.text("tag", name, "2", "release-1", "--move")
    assert moved == "moved release-1 from generation 1 to 2\n"
    made = anywhere.json("tag", name, "release-1", "stable", "--move")
    assert (made["name"], made["generation"]) == ("stable", 2)
    listed = anywhere.json("tags", name)
    assert [(one["name"], one["generation"]) for one in listed["items"]] == [("release-1", 2), ("stable", 2)]
    table = anywhere.text("tags", name).splitlines()
    assert table[0].split() == ["NAME", "GENERATION", "COMMIT", "SET", "BY"]
    assert [line.split()[:3] for line in table[1:]] == [[one["name"], "2", one["commit"]] for one in listed["items"]]
    log = [line for line in anywhere.text("log", name).splitlines() if line.startswith("generation")]
    assert [line.partition("(")[2] for line in log] == ["", "release-1, stable)", ""]
    assert anywhere.text("untag", name, "stable") == "removed stable, which was generation 2\n"
    assert anywhere.error("untag", name, "stable", code=3)["code"] == "not_found"
    assert [one["name"] for one in anywhere.json("tags", name)["items"]] == ["release-1"]


def test_a_tag_can_be_named_wherever_a_generation_can_at_a_server_too(anywhere: Program, tmp_path: Path) -> None:
    name = with_generations(anywhere)
    anywhere("tag", name, "2", "release-2")
    assert [one["generation"] for one in anywhere.json("log", name, "--before", "release-2")["items"]] == [1]
    out = tmp_path / "out"
    assert anywhere.json("export", name, out, "--generation", "release-2")["generation"] == 2
    assert (out / "a").read_text() == "2"
    session = f"s-{secrets.token_hex(4)}"
    opened = anywhere.json("checkout", name, "--session", session, "-g", "release-2")
    assert (opened["generation"], Path(opened["path"], "a").read_text()) == (2, "2")
    anywhere("close", session, "--discard")
    assert anywhere.text("restore", name, "release-2").startswith("restored 1 path of generation 2 as generation 4")
    error = anywhere.error("restore", name, "releese-2", code=3)
    assert "did you mean 'release-2'?" in error["hint"]


def test_a_tag_can_be_named_wherever_a_generation_can(program: Program) -> None:
    name = with_generations(program)
    program("tag", name, "2", "release-2")
    assert program("cat", name, "a", "-g", "release-2").stdout == b"2"
    assert program.json("ls", name, "-g", "release-2")["generation"] == 2
    assert program.json("show", name, "release-2")["generation"] == 2
    diff = program.json("diff", name, "1", "release-2")
    assert (diff["before"], diff["after"], len(diff["items"])) == (1, 2, 1)
    diff = program.json("diff", name, "release-2")
    assert (diff["before"], diff["after"]) == (2, 3)
    fork = f"fork-{name}"
    program("fork", name, fork, "--generation", "release-2")
    assert program("cat", fork, "a").stdout == b"2"
    assert program.json("tags", fork)["items"] == []


@pytest.mark.parametrize("name", ["7", "head", "HEAD", "a b", "-x", "x" * 65, "7-" + "a" * 26])
def test_a_name_that_no_tag_can_have_is_refused(program: Program, name: str) -> None:
    project = program.project()
    error = program.error("--json", "tag", project, "1", "--", name, code=2)
    assert error["code"] == "invalid_input"
    assert program.json("tags", project)["items"] == []


@pytest.mark.parametrize("generation", ["-1", "07", "head", "1-" + "a" * 26, ""])
def test_what_is_neither_a_number_nor_the_name_of_a_tag_is_a_wrong_argument(program: Program, generation: str) -> None:
    project = program.project()
    for command in (["show", project, "--", generation], ["ls", project, f"--generation={generation}"]):
        done = program(*command, code=2)
        assert b"is not a generation" in done.stderr
        assert b"the name of a tag" in done.stderr


def test_nothing_is_said_to_be_tagged_where_there_is_nothing(program: Program) -> None:
    project = program.project()
    done = program("tags", project)
    assert (done.stdout, done.stderr.decode()) == (
        b"",
        "there are no tags: 'manifold tag PROJECT GENERATION NAME' makes one\n",
    )
    assert program.error("tag", project, "0", "empty", code=3)["message"].startswith(
        "generation 0 is the empty project"
    )
    assert program.error("tag", project, "9", "later", code=3)["code"] == "not_found"


def test_of_two_that_move_a_tag_at_the_same_moment_each_moves_it_from_where_it_was(program: Program) -> None:
    """None is lost unnoticed: as many events as moves, and who is refused is told so."""
    name = with_generations(program, 9)
    program("tag", name, "1", "newest")
    movers = [
        program.start("tag", name, str(number), "newest", "--move", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for number in range(2, 10)
    ]
    ends = [mover.communicate(timeout=120) for mover in movers]
    codes = [mover.returncode for mover in movers]
    assert set(codes) <= {0, 4}
    assert all(b"not where it was seen" in err for (_, err), code in zip(ends, codes, strict=True) if code == 4)
    moved = [out for (out, _), code in zip(ends, codes, strict=True) if code == 0]
    last = program.json("tags", name)["items"][0]["generation"]
    left = sorted(int(out.split()[4]) for out in moved)
    reached = sorted(int(out.split()[6]) for out in moved)
    assert sorted([*left, last]) == sorted([1, *reached])


def test_the_shell_completes_the_tags_of_the_project_that_is_named(program: Program) -> None:
    name = with_generations(program, 1)
    for tag in ("release-1", "release-2", "stable"):
        program("tag", name, "1", tag)
    for words in (f"manifold show {name} rel", f"manifold ls {name} --generation rel", f"manifold untag {name} rel"):
        done = subprocess.run(
            [EXECUTABLE],
            env=program.environ(_MANIFOLD_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(words.count(" "))),
            cwd=program.folder,
            capture_output=True,
            timeout=120,
            check=True,
        )
        assert done.stdout.decode().split() == ["release-1", "release-2"], words
