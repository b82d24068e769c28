"""The command line as a person uses it, from an empty folder to a restored generation."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support.cli import Program
from tests.support.hints import settle_conflicts
from tests.support.shown import run_shown
from tests.support.work import MAPPED, write_through_map


def _identical(one: Path, other: Path) -> bool:
    compared = subprocess.run(["diff", "-r", "--no-dereference", one, other], capture_output=True, check=False)
    return compared.stdout + compared.stderr == b""


def test_a_project_goes_in_is_changed_committed_compared_restored_and_comes_out(
    program: Program, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    (source / "src" / "deep").mkdir(parents=True)
    (source / "src" / "main.py").write_text("print('one')\n")
    (source / "src" / "deep" / "data.bin").write_bytes(os.urandom(300_000))
    (source / "run.sh").write_text("#!/bin/sh\n")
    (source / "run.sh").chmod(0o755)
    (source / "link").symlink_to("src/main.py")
    (source / "empty").mkdir()

    assert program.text("project", "create", "tour").startswith("created tour")
    assert "generation 1" in program.text("import", "tour", source, "-m", "first")

    work = program.checkout("tour", "tour-1")
    assert _identical(source, work)
    (work / "src" / "main.py").write_text("print('two')\n")
    (work / "new.txt").write_text("new\n")
    (work / "link").unlink()
    (work / "src" / "deep" / "data.bin").rename(work / "moved.bin")
    (work / "src" / "deep").rmdir()
    (work / "run.sh").chmod(0o644)

    changed = program.text("status", "tour-1").splitlines()
    assert changed == [
        "D link",
        "A moved.bin",
        "A new.txt",
        "P run.sh  (0755 -> 0644)",
        "D src/deep/",
        "D src/deep/data.bin",
        "M src/main.py",
    ]
    assert "committed generation 2" in program.text("commit", "tour-1", "-m", "second", "--provenance", "model=m1")
    assert program("status", "tour-1", "--exit-code").stdout == b""

    log = program.text("log", "tour")
    assert log.index("generation 2") < log.index("second") < log.index("generation 1") < log.index("first")
    assert "model: m1" in log
    assert program.text("diff", "tour", "1", "2").splitlines() == changed
    patch = program("diff", "tour", "1", "2", "--patch").stdout
    assert b"-print('one')\n+print('two')\n" in patch
    assert b"deleted file mode 120000" in patch
    assert program("cat", "tour", "src/main.py", "-g", "1").stdout == b"print('one')\n"

    assert "generation 3" in program.text("restore", "tour", "1", "src/")
    assert program.text("diff", "tour", "1", "3").splitlines()[:3] == ["D link", "A moved.bin", "A new.txt"]
    program("restore", "tour", "1")
    program("export", "tour", tmp_path / "restored")
    assert _identical(source, tmp_path / "restored")
    program("export", "tour", tmp_path / "second", "--generation", "2")
    program("checkout", "tour", "--session", "tour-1")
    assert _identical(source, work)

    assert "forked tour as tour-copy" in program.text("fork", "tour", "tour-copy", "-g", "2")
    program("export", "tour-copy", tmp_path / "fork")
    assert _identical(tmp_path / "second", tmp_path / "fork")
    assert "all is well" in program.text("verify", "tour", "--read-data")
    assert "tour-1" in program.text("sessions", "tour")
    program("close", "tour-1")
    assert not work.exists()
    assert "renamed tour-copy to spare" in program.text("project", "rename", "tour-copy", "spare")
    program("project", "delete", "spare", "--yes")
    names = [line.split()[0] for line in program.text("project", "list").splitlines()]
    assert "tour" in names
    assert "spare" not in names


def test_checkout_prints_the_folder_alone_so_that_cd_can_take_it(program: Program) -> None:
    project = program.project()
    done = program("checkout", project)
    folder, _, rest = done.stdout.partition(b"\n")
    assert rest == b""
    assert Path(os.fsdecode(folder), "readme.txt").read_bytes() == b"hello\n"
    assert b"session " + project.encode() in done.stderr
    assert program("checkout", project, "--quiet").stderr == b""


def test_inside_a_working_set_its_session_need_not_be_named(program: Program) -> None:
    work = program.checkout(program.project({"src/a.txt": b"a\n"}), "inside")
    (work / "src" / "a.txt").write_text("changed\n")
    assert program.text("status", cwd=work / "src") == "M src/a.txt\n"
    assert "generation 2" in program.text("commit", cwd=work)
    assert "no session is named" in program.error("status", code=2)["message"]


def test_two_sessions_see_each_others_commits(program: Program) -> None:
    project = program.project()
    one, two = program.checkout(project, "see-1"), program.checkout(project, "see-2")
    (one / "one.txt").write_text("1\n")
    (two / "two.txt").write_text("2\n")
    program("commit", "see-1")
    done = program.json("commit", "see-2")
    assert (done["generation"], done["rebased"]) == (3, True)
    assert (two / "one.txt").read_text() == "1\n"
    assert program.json("checkout", project, "-s", "see-1")["kind"] == "refreshed"
    assert (one / "two.txt").read_text() == "2\n"
    assert program.json("checkout", project, "-s", "see-1")["kind"] == "warm"


def test_a_conflict_names_the_paths_keeps_the_work_and_can_be_decided(program: Program) -> None:
    project = program.project()
    one, two = program.checkout(project, "clash-1"), program.checkout(project, "clash-2")
    (one / "readme.txt").write_text("one\n")
    (two / "readme.txt").write_text("two\n")
    program("commit", "clash-1")
    error = program.error("commit", "clash-2", code=4)
    assert (error["code"], error["details"]["paths"]) == ("commit_conflict", ["readme.txt"])
    assert (two / "readme.txt").read_text() == "two\n"
    done = program.json("commit", "clash-2", "--strategy", "ours")
    assert done["conflicts"] == [{"path": "readme.txt"}]
    assert program("cat", project, "readme.txt").stdout == b"two\n"


def test_saved_work_comes_back_after_the_working_set_is_lost(program: Program) -> None:
    project = program.project()
    work = program.checkout(project, "lost")
    (work / "draft.txt").write_text("precious\n")
    assert "saved 2 changed paths" in program.text("save", "lost")
    subprocess.run(["rm", "-r", work], check=True)
    assert program.json("checkout", project, "-s", "lost")["kind"] == "restored"
    assert (work / "draft.txt").read_text() == "precious\n"


def test_a_sparse_checkout_has_what_matches_and_its_commit_deletes_nothing_else(program: Program) -> None:
    project = program.project({"docs/a.md": b"a\n", "src/b.py": b"b\n", "c.md": b"c\n"})
    work = program.checkout(project, "sparse", "--path", "*.md", "--path", "!c.md")
    assert [path.name for path in sorted(work.rglob("*"))] == ["docs", "a.md"]
    (work / "docs" / "a.md").write_text("changed\n")
    program("commit", "sparse")
    listed = program.json("ls", project, "--recursive")["items"]
    assert [entry["path"] for entry in listed] == ["c.md", "docs", "docs/a.md", "src", "src/b.py"]


def test_close_does_not_lose_changes_unless_told_to(program: Program) -> None:
    work = program.checkout(program.project(), "keep-me")
    (work / "readme.txt").write_text("changed\n")
    assert "not committed" in program.error("close", "keep-me", code=4)["message"]
    assert work.exists()
    program("close", "keep-me", "--discard")
    assert not work.exists()
    assert program.error("close", "keep-me", code=3)["code"] == "not_found"


def test_a_session_of_an_empty_project_has_nothing_to_lose(program: Program) -> None:
    program("project", "create", "nothing-yet")
    program.checkout("nothing-yet", "empty-1")
    assert program.json("status", "empty-1")["differences"] == []
    program("close", "empty-1")


def test_what_was_written_through_a_memory_map_is_not_lost(program: Program) -> None:
    work = program.checkout(program.project({"mapped": MAPPED}), "mapper")
    write_through_map(work / "mapped")
    assert "not committed" in program.error("close", "mapper", code=4)["message"]
    assert [found["path"] for found in program.json("status", "mapper", "--checksum")["differences"]] == ["mapped"]
    assert program.json("save", "mapper", "--checksum")["changed"] == 1
    assert program.json("commit", "mapper", "--checksum")["modified"] == 1
    program("close", "mapper")


def test_a_folder_that_a_later_commit_removed_does_not_hide_the_project(program: Program) -> None:
    project = program.project({"gone/deep/file": b"x\n", "stays": b"y\n"})
    work = program.checkout(project, "remover")
    subprocess.run(["rm", "-r", work / "gone"], check=True)
    program("commit", "remover")
    assert [entry["path"] for entry in program.json("ls", project)["items"]] == ["stays"]


def test_import_can_keep_what_the_folder_lacks(program: Program, tmp_path: Path) -> None:
    project = program.project({"old.txt": b"old\n"})
    (tmp_path / "new.txt").write_text("new\n")
    program("import", project, tmp_path, "--keep")
    assert [entry["path"] for entry in program.json("ls", project)["items"]] == ["new.txt", "old.txt"]
    program("import", project, tmp_path)
    assert [entry["path"] for entry in program.json("ls", project)["items"]] == ["new.txt"]
    assert program.json("import", project, tmp_path)["commit"] is None


def test_legacy_mode_works_in_the_projects_plaintext_folder(program: Program, tmp_path: Path) -> None:
    plain = {"PROJECTS_ENCRYPT": "false", "PROJECTS_WORKSPACE_MODE": "legacy"}
    (tmp_path / "a.txt").write_text("a\n")
    program("import", "plain", tmp_path, "--create", **plain)
    work = Path(program.text("checkout", "plain", "-s", "plain-1", **plain).rstrip("\n"))
    shown = program.json("project", "show", "plain", **plain)
    assert work == program.folder / "workdir" / "users" / "local" / "projects" / shown["id"]
    (work / "a.txt").write_text("b\n")
    assert program.text("status", cwd=work, **plain) == "M a.txt\n"
    program("commit", cwd=work, **plain)
    assert program("cat", "plain", "a.txt", **plain).stdout == b"b\n"
    program("close", "plain-1", **plain)
    assert (work / "a.txt").exists()


def test_what_a_conflict_says_to_do_settles_it(program: Program) -> None:
    settle_conflicts(program)


def test_what_the_page_shows_settles_a_conflict(program: Program) -> None:
    project = program.project({"a.txt": b"base\n"})
    session, others = f"{project}-mine", f"{project}-others"
    (program.checkout(project, session) / "a.txt").write_bytes(b"mine\n")
    (program.checkout(project, others) / "a.txt").write_bytes(b"theirs\n")
    program("commit", others)
    shown = {"environ": program.environ(), "cwd": program.folder, "PROJECT": project}
    run_shown("docs/cli.md: manifold checkout PROJECT --session SESSION", **shown, SESSION=session)
    assert program.text("cat", project, "a.txt") == "mine\n"

    (program.checkout(project, others) / "a.txt").write_bytes(b"theirs again\n")
    (program.checkout(project, session) / "a.txt").write_bytes(b"mine again\n")
    program("commit", session)
    (kept,) = program.json("commit", others, "--strategy", "theirs")["kept"]
    run_shown("docs/cli.md: manifold checkout PROJECT --session KEPT", **shown, KEPT=kept)
    assert program.text("cat", project, "a.txt") == "theirs again\n"
