"""What a program hands over is what it is said to be, or is refused. Nothing is guessed, and nothing discards work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL, Principal
from manifold_common.domain.conflict import Strategy, rebase
from manifold_common.domain.quota import Limits
from manifold_common.domain.tree import FILE, Changes, Entry
from manifold_common.engine.working_set.location import WorkingSetFolders, WorkspaceMode
from manifold_common.engine.working_set.scope import Scope
from manifold_common.errors import InvalidInput
from manifold_common.ids import IncarnationId, ProjectId
from manifold_common.services.archive import ArchiveFormat
from manifold_common.services.context import Policy
from manifold_common.services.direct.plans import Wanted
from manifold_common.services.projects.edits import Copy, Delete, MakeFolder, Move, PutFile, PutLink
from manifold_common.shapes.intent import Intent
from manifold_common.shapes.path import listed
from manifold_common.shapes.requests import CheckoutRequest

from tests.support.manifold import MakeManifold
from tests.support.work import S1, cat, check_out, new_project, put, reader

NO_STRATEGIES: list[Any] = ["OURS", "Strategy.OURS", "our", "", b"ours", 1, True, None, ["ours"], WorkspaceMode.LEGACY]
NO_GENERATIONS: list[Any] = [True, False, 1.0, -1, "1", b"1", 2**53, float("nan"), [1]]
NO_FLAGS: list[Any] = ["false", "no", "", 0, 1, None, b""]
NO_LISTS: list[Any] = ["src", b"src", {"src": 1}, {"src"}, None, 3, [b"src"], [None], ["src", 1]]
NO_FACTS: list[Any] = [
    "model=x", ["model"], None, {1: "x"}, {b"a": 1}, {"x": float("nan")}, {"x": float("inf")}, {"x": b"bytes"},
    {"x": {1, 2}}, {"x": 2**70}, {"x": -(2**70)}, {"x": "\udc80"}, {"\udc80": 1}, {"x": object}, {"x": [2**70]},
]  # fmt: skip
NO_REQUESTS: list[Any] = ["", "a b", "ä", "x" * 129, b"r-1", 7, "a\n"]
NO_SESSIONS: list[Any] = ["../x", "", "a/b", "A", ".", "..", "a..b", b"s1", 7, "x" * 65, "s1\n", True]


def _with_conflict(make_manifold: MakeManifold) -> tuple[Manifold, ProjectId]:
    """Return a project whose session s1 has changed the file that others have changed as well."""
    manifold = make_manifold()
    project = new_project(manifold, a=b"base")
    (check_out(manifold, project) / "a").write_bytes(b"mine")
    put(manifold, project, b"a", b"theirs")
    return manifold, project


def test_a_strategy_may_be_named_as_the_command_line_names_it(make_manifold: MakeManifold) -> None:
    manifold, project = _with_conflict(make_manifold)
    named: Any = "ours"
    done = manifold.commits.commit(LOCAL_PRINCIPAL, S1, Intent(strategy=named))
    assert done.conflicts == listed([b"a"])
    assert cat(manifold, project, b"a") == b"mine"


@pytest.mark.parametrize("value", NO_STRATEGIES, ids=repr)
def test_what_names_no_strategy_decides_nothing(value: Any) -> None:
    for make in (Intent, CheckoutRequest):
        with pytest.raises(InvalidInput, match="'fail', 'ours', 'theirs'"):
            make(strategy=value)


@pytest.mark.parametrize("value", ["our", "OURS", None], ids=repr)
def test_a_checkout_with_no_strategy_that_there_is_touches_nothing(make_manifold: MakeManifold, value: Any) -> None:
    manifold, project = _with_conflict(make_manifold)
    with pytest.raises(InvalidInput, match="'fail', 'ours', 'theirs'"):
        manifold.sessions.checkout(LOCAL_PRINCIPAL, S1, project, CheckoutRequest(strategy=value))
    assert (check_out_folder(manifold) / "a").read_bytes() == b"mine"


def check_out_folder(manifold: Manifold) -> Any:
    from pathlib import Path

    return Path(manifold.sessions.status(LOCAL_PRINCIPAL, S1).answer.path)


def test_the_rules_themselves_take_no_string_for_a_side() -> None:
    """Whoever comes past all checks is stopped here, and gets nothing that could be published."""
    one, two = Entry(FILE, 0o644, 1, 1, b"1" * 32), Entry(FILE, 0o644, 1, 1, b"2" * 32)
    mine, theirs = Changes({b"a": one}, set()), Changes({b"a": two}, set())
    unchecked: Any = "ours"
    with pytest.raises(AssertionError):
        rebase({}, mine, theirs, unchecked)


@pytest.mark.parametrize("value", NO_GENERATIONS, ids=repr)
def test_what_is_no_generation_is_refused_everywhere(make_manifold: MakeManifold, value: Any) -> None:
    manifold = make_manifold()
    project = new_project(manifold, a=b"one")
    put(manifold, project, b"a", b"two")
    refused: list[Callable[[], object]] = [
        lambda: Intent(expected=value),
        lambda: Wanted(known=value),
        lambda: manifold.sessions.checkout(LOCAL_PRINCIPAL, S1, project, CheckoutRequest(value)),
        lambda: manifold.sessions.checkout(LOCAL_PRINCIPAL, S1, project, CheckoutRequest(seen_generation=value)),
        lambda: manifold.session_plans.plan(LOCAL_PRINCIPAL, S1, project, CheckoutRequest(value)),
        lambda: manifold.edits.restore(LOCAL_PRINCIPAL, project, value),
        lambda: manifold.history.snapshot(LOCAL_PRINCIPAL, project, value),
        lambda: manifold.history.commit(LOCAL_PRINCIPAL, project, value),
        lambda: manifold.history.log(LOCAL_PRINCIPAL, project, before=value),
        lambda: manifold.forks.fork(LOCAL_PRINCIPAL, project, "fork", value),
    ]
    for call in refused:
        with pytest.raises(InvalidInput):
            call()
    assert cat(manifold, project, b"a") == b"two"
    assert manifold.sessions.all(LOCAL_PRINCIPAL) == []


@pytest.mark.parametrize("value", NO_FLAGS, ids=repr)
def test_a_text_is_no_flag(make_manifold: MakeManifold, value: Any) -> None:
    """``"false"`` is true in Python: it would delete a folder with all that is in it."""
    manifold = make_manifold()
    project = new_project(manifold, a=b"one")
    check_out(manifold, project)
    refused: list[Callable[[], object]] = [
        lambda: Delete(b"a", recursive=value),
        lambda: Move(b"a", b"b", overwrite=value),
        lambda: Copy(b"a", b"b", overwrite=value),
        lambda: PutFile(b"a", reader(b""), create_only=value),
        lambda: CheckoutRequest(drop_lost_draft=value),
        lambda: Wanted(content=value),
        lambda: manifold.sessions.status(LOCAL_PRINCIPAL, S1, checksum=value),
        lambda: manifold.commits.save(LOCAL_PRINCIPAL, S1, checksum=value),
        lambda: manifold.commits.commit(LOCAL_PRINCIPAL, S1, checksum=value),
        lambda: manifold.archives.load(LOCAL_PRINCIPAL, project, reader(b""), replace=value),
    ]
    for call in refused:
        with pytest.raises(InvalidInput, match="neither True nor False"):
            call()


@pytest.mark.parametrize("value", NO_LISTS, ids=repr)
def test_one_text_is_not_taken_apart_into_letters(make_manifold: MakeManifold, value: Any) -> None:
    manifold = make_manifold()
    project = new_project(manifold, a=b"one")
    refused: list[Callable[[], object]] = [
        lambda: manifold.sessions.checkout(LOCAL_PRINCIPAL, S1, project, CheckoutRequest(paths=value)),
        lambda: manifold.session_plans.plan(LOCAL_PRINCIPAL, S1, project, CheckoutRequest(paths=value)),
        lambda: Wanted(patterns=value),
        lambda: Scope(value),
    ]
    for call in refused:
        with pytest.raises(InvalidInput):
            call()
    assert manifold.sessions.all(LOCAL_PRINCIPAL) == []


def test_a_list_of_patterns_is_as_good_as_a_tuple(make_manifold: MakeManifold) -> None:
    manifold = make_manifold()
    project = new_project(manifold, a=b"one", b=b"two")
    done = manifold.sessions.checkout(LOCAL_PRINCIPAL, S1, project, CheckoutRequest(paths=["/a"]))
    assert done.entries == 1
    assert manifold.sessions.checkout(LOCAL_PRINCIPAL, S1, project, CheckoutRequest(paths=["/a"])).entries == 1


@pytest.mark.parametrize("value", ["src", b"src", {b"src": 1}, None, 3, ["a"], [None], [b"../a"], [b"/a"]], ids=repr)
def test_what_is_no_list_of_paths_restores_nothing(make_manifold: MakeManifold, value: Any) -> None:
    manifold = make_manifold()
    project = new_project(manifold, a=b"one")
    put(manifold, project, b"a", b"two")
    with pytest.raises(InvalidInput):
        manifold.edits.restore(LOCAL_PRINCIPAL, project, manifold.history.log(LOCAL_PRINCIPAL, project)[1].generation,
                               value)  # fmt: skip
    assert cat(manifold, project, b"a") == b"two"


@pytest.mark.parametrize("value", NO_FACTS, ids=repr)
def test_provenance_that_json_cannot_hold_is_refused_before_the_work(value: Any) -> None:
    with pytest.raises(InvalidInput, match="provenance"):
        Intent(provenance=value)


def test_provenance_is_the_requests_own_from_then_on(make_manifold: MakeManifold) -> None:
    facts: dict[str, Any] = {"tools": ["sed"], "cost": 0.5, "ok": True}
    request = Intent("m", facts)
    facts["tools"].append("rm")
    facts["more"] = float("nan")
    assert request.provenance == {"tools": ["sed"], "cost": 0.5, "ok": True}


@pytest.mark.parametrize("value", NO_REQUESTS, ids=repr)
def test_what_cannot_name_a_request_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput, match="request"):
        Intent(request=value)


@pytest.mark.parametrize("value", [b"text", None, 3, ["m"], "lone \udc80"], ids=repr)
def test_a_message_is_text_that_can_be_stored(value: Any) -> None:
    with pytest.raises(InvalidInput, match="message"):
        Intent(message=value)


@pytest.mark.parametrize("value", NO_SESSIONS, ids=repr)
def test_what_cannot_name_a_session_opens_none(make_manifold: MakeManifold, value: Any) -> None:
    manifold = make_manifold()
    project = new_project(manifold, a=b"one")
    for call in (manifold.sessions.checkout, manifold.session_plans.plan):
        with pytest.raises(InvalidInput, match="session"):
            call(LOCAL_PRINCIPAL, value, project)
    assert manifold.sessions.all(LOCAL_PRINCIPAL) == []
    assert list(manifold.working_sets.folders.found()) == []


@pytest.mark.parametrize("value", NO_SESSIONS, ids=repr)
def test_there_is_no_principal_whose_ids_were_not_parsed(value: Any) -> None:
    for ids in ((value, "local"), ("default", value)):
        with pytest.raises(InvalidInput):
            Principal(*ids)


def test_edits_say_what_is_wrong_with_them(make_manifold: MakeManifold) -> None:
    manifold = make_manifold()
    project = new_project(manifold, a=b"one")
    text: Any = "a"
    octal: Any = "644"
    whole: Any = 1.5
    unreadable: Any = b"content"
    refused: list[Callable[[], object]] = [
        lambda: PutFile(b"a", unreadable),
        lambda: PutFile(b"a", reader(b""), mode=octal),
        lambda: PutFile(b"a", reader(b""), mode=-1),
        lambda: PutFile(b"a", reader(b""), mtime_ns=whole),
        lambda: PutLink(b"a", text),
        lambda: MakeFolder(b"a", mode=octal),
        lambda: manifold.edits.apply(LOCAL_PRINCIPAL, project, [Delete(text)]),
        lambda: manifold.edits.apply(LOCAL_PRINCIPAL, project, [Move(text, b"b")]),
        lambda: manifold.edits.apply(LOCAL_PRINCIPAL, project, [PutFile(text, reader(b""))]),
        lambda: manifold.edits.apply(LOCAL_PRINCIPAL, project, [text]),
        lambda: manifold.history.open_file(LOCAL_PRINCIPAL, project, text),
        lambda: manifold.history.list_tree(LOCAL_PRINCIPAL, project, text),
    ]
    for call in refused:
        with pytest.raises(InvalidInput):
            call()
    assert cat(manifold, project, b"a") == b"one"


def test_a_mode_of_working_sets_may_be_named_and_is_never_guessed(make_manifold: MakeManifold, tmp_path: Any) -> None:
    """A mode that equals none would have put plaintext on the disk."""
    named: Any = "ephemeral"
    clock, own = make_manifold().context.clock, IncarnationId("i" * 26)
    sets = WorkingSetFolders(named, tmp_path / "disk", tmp_path / "ram", clock=clock, incarnation=own)
    assert (sets.mode, sets.root) == (WorkspaceMode.EPHEMERAL, str(tmp_path / "ram"))
    for value in ("Ephemeral", "ram", None, True):
        with pytest.raises(InvalidInput, match="'legacy', 'ephemeral'"):
            WorkingSetFolders(value, tmp_path / "disk", tmp_path / "ram", clock=clock, incarnation=own)  # type: ignore[arg-type]


def test_an_archive_has_a_format_that_there_is(make_manifold: MakeManifold) -> None:
    manifold = make_manifold()
    project = new_project(manifold, a=b"one")
    named: Any = "zip"
    assert b"".join(manifold.archives.export(LOCAL_PRINCIPAL, project, named).read()).startswith(b"PK")
    for value in ("tgz", "ZIP", None, Strategy.FAIL):
        with pytest.raises(InvalidInput, match=r"'tar\.gz', 'zip', 'tar'"):
            manifold.archives.export(LOCAL_PRINCIPAL, project, value)  # type: ignore[arg-type]
    assert ArchiveFormat("zip") is ArchiveFormat.ZIP


@pytest.mark.parametrize("value", [-1, True, "10", 1.5, None], ids=repr)
def test_a_limit_is_a_number_that_limits(value: Any) -> None:
    with pytest.raises(InvalidInput):
        Limits(max_files=value)


@pytest.mark.parametrize("value", [0, -1.0, "60", True, float("inf"), float("nan"), None], ids=repr)
def test_a_policy_has_lengths_of_time(value: Any) -> None:
    with pytest.raises(InvalidInput):
        Policy(session_ttl_seconds=value)
