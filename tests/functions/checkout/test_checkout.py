"""The checkout function: a session in the function's own storage, and a container that serves one after another."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from manifold_common.domain.access import LOCAL_PRINCIPAL, Principal
from manifold_common.ids import Generation, ProjectId, SessionId, TagName, TenantId, UserId
from manifold_common.services.projects.edits import Edit, PutFile

from functions.invocation.entry import InvocationError
from tests.support.functions import Function, MakeFunction, metrics_of, sample

ANN = LOCAL_PRINCIPAL
ULI = Principal(TenantId("umbrella"), UserId("uli"))


def put(path: bytes, content: bytes) -> Edit:
    rest = [content]

    def read(into: memoryview) -> int:
        piece = rest.pop() if rest else b""
        into[: len(piece)] = piece
        return len(piece)

    return PutFile(path, read)


def asked(**changes: Any) -> dict[str, Any]:
    """Return the sample, of the project that ``make_project`` makes."""
    return sample("checkout-direct", **{"generation": 2, "paths": ["src/", "*.md"], **changes})


MakeProject = Callable[..., ProjectId]


@pytest.fixture
def make_project(function: Function) -> MakeProject:
    def make(principal: Principal = ANN, name: str = "demo", **files: str) -> ProjectId:
        manifold = function.manifold
        project = manifold.projects.create(principal, name).id
        manifold.edits.apply(principal, project, [put(b"readme.md", b"read me\n"), put(b"setup.cfg", b"")])
        manifold.edits.apply(principal, project, [put(b"src/main.py", b"print()\n")])
        for path, content in files.items():
            manifold.edits.apply(principal, project, [put(path.encode(), content.encode())])
        return project

    return make


def test_a_generation_is_named_by_a_tag_for_a_new_session_and_for_one_that_is_open(
    function: Function, make_project: MakeProject
) -> None:
    project, tags = make_project(), function.manifold.tags
    tags.set(ANN, project, TagName("first"), Generation(1))
    tags.set(ANN, project, TagName("second"), Generation(2))
    opened = function("checkout", asked(generation="first"))
    assert opened["generation"] == 1
    again = function("checkout", {"session": opened["session"], "generation": "second"})
    assert (again["session"], again["generation"]) == (opened["session"], 2)
    with pytest.raises(InvocationError, match="does not exist"):
        function("checkout", asked(generation="third"))


def everything_below(folder: Path) -> dict[str, bytes]:
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            found[str(path.relative_to(folder))] = path.read_bytes() if path.is_file() else b""
    return found


def test_the_sample_checks_out_what_it_asks_for(function: Function, make_project: MakeProject, capsys: Any) -> None:
    project = make_project()
    answer = function("checkout", asked())
    assert (answer["session"], answer["project"], answer["kind"]) == ("agent-1", project, "new")
    assert (answer["generation"], answer["head_generation"]) == (2, 2)
    work = Path(answer["path"])
    assert set(everything_below(work)) == {"readme.md", "src/main.py"}
    assert (work / "src/main.py").read_text() == "print()\n"
    assert metrics_of(capsys.readouterr().out)["workspace.checkout.duration"] > 0


def test_a_container_that_is_used_again_by_its_session_is_warm(function: Function, make_project: MakeProject) -> None:
    make_project()
    function("checkout", asked())
    assert function("checkout", asked(project=None))["kind"] == "warm"


def test_another_session_finds_the_cache_and_nothing_of_the_one_before(
    function: Function, make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_project()
    first = function("checkout", asked())
    Path(first["path"], "notes.txt").write_text("not committed")
    store = type(function.manifold.context.store)
    for name in ("get", "get_ranges"):
        monkeypatch.setattr(store, name, lambda *_, **__: pytest.fail("the store was read"))
    second = function("checkout", asked(session="agent-2", user="local"))
    assert not Path(first["path"]).exists()
    assert "notes.txt" not in everything_below(Path(second["path"]))
    monkeypatch.undo()


def test_what_the_session_before_had_changed_is_there_when_it_comes_back(
    function: Function, make_project: MakeProject
) -> None:
    make_project()
    first = function("checkout", asked(paths=[]))
    Path(first["path"], "notes.txt").write_text("not committed")
    function("checkout", asked(session="agent-2"))
    back = function("checkout", asked(paths=[]))
    assert back["kind"] == "restored"
    assert Path(back["path"], "notes.txt").read_text() == "not committed"


def test_nothing_of_a_tenant_is_left_for_the_next_one(function: Function, make_project: MakeProject) -> None:
    canary, name = "canary-of-ann-5f1d", "canary-name-of-ann"
    project = make_project(ANN, **{name: canary})
    make_project(ULI, "other")
    done = function("checkout", asked(generation=None, paths=[]))
    assert canary in Path(done["path"], name).read_text()
    Path(done["path"], "draft").write_text(f"{canary} in a draft")
    sealed = [path for path in everything_below(function.folder) if f"t/{ANN.tenant}/" in path]
    assert sealed, "the cache holds sealed objects of the tenant"

    other = asked(tenant="umbrella", user="uli", project="other", paths=[])
    assert function("checkout", other)["kind"] == "new"
    left = everything_below(function.folder)
    assert not any(str(ANN.tenant) in path for path in left)
    assert not any(canary.encode() in content or name.encode() in content for content in left.values())
    del left
    assert (ANN.tenant, project) not in function.manifold.context.log.remembered()
    found = [held for held in gc.get_objects() if type(held) in (dict, list, tuple, set) and _holds(held, canary, name)]
    assert found == [], "trees, names or content of the tenant are in memory"

    back = function("checkout", asked(generation=None, paths=[]))
    assert Path(back["path"], "draft").read_text() == f"{canary} in a draft"


def _holds(held: Any, *texts: str) -> bool:
    wanted = [text.encode() for text in texts]
    items = (*held.keys(), *held.values()) if isinstance(held, dict) else held
    return any(isinstance(item, bytes) and any(text in item for text in wanted) for item in items)


def test_changes_that_cannot_be_saved_keep_others_out(
    function: Function, make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_project()
    done = function("checkout", asked(paths=[]))
    notes = Path(done["path"], "notes.txt")
    notes.write_text("not committed")
    store = function.manifold.settings.projects.filesystem.root
    store.rename(store.with_name("away"))
    store.write_text("no folder")
    with pytest.raises(InvocationError) as caught:
        function("checkout", asked(session="agent-2"))
    assert type(caught.value).__name__ in ("store_unavailable", "config_error")
    assert notes.read_text() == "not committed", "it is kept until it can be saved"
    store.unlink()
    store.with_name("away").rename(store)
    function("checkout", asked(session="agent-2"))
    assert not notes.exists()


def test_what_lies_beside_working_sets_goes_as_well(function: Function, make_project: MakeProject) -> None:
    make_project()
    done = function("checkout", asked())
    sets = function.folder / "sets"
    (sets / "tmpabcd").write_text("spooled by an upload that was cut off")
    own = function.manifold.working_sets.folders.own
    half_made = Path(own, "default/bob/agent-9/building")
    half_made.mkdir(parents=True)
    (half_made / "plain.txt").write_text("half made")
    assert function("checkout", asked())["kind"] == "warm"
    assert [path for path in everything_below(sets) if "/default/local/agent-1/" not in path] == []
    assert Path(done["path"], "readme.md").exists()


def test_a_process_that_died_leaves_nothing_to_the_next_tenant(
    make_function: MakeFunction, function: Function, make_project: MakeProject
) -> None:
    make_project()
    make_project(ULI, "other")
    function("checkout", asked(paths=[]))
    again = make_function()  # Lambda starts the runtime anew, and /tmp is as it was
    again("checkout", asked(tenant="umbrella", user="uli", project="other"))
    assert not any(f"/{ANN.tenant}/" in path for path in everything_below(function.folder))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"project": "unknown"}, "not_found"),
        ({"generation": 9}, "not_found"),
        ({"tenant": "umbrella"}, "not_found"),
        ({"user": "bob"}, "not_found"),
        ({"session": "No!"}, "invalid_input"),
        ({"tenant": "../x"}, "invalid_input"),
        ({"seen_generation": 9}, "stale_store"),
        ({"paths": ["["]}, "invalid_input"),
    ],
)
def test_what_cannot_be_checked_out_is_refused(
    function: Function, make_project: MakeProject, changes: dict[str, Any], code: str
) -> None:
    make_project()
    event = asked(**{"errors": "return", **changes})
    assert function("checkout", event)["error"]["code"] == code
    with pytest.raises(InvocationError) as caught:
        function("checkout", {**event, "errors": "raise"})
    assert type(caught.value).__name__ == code


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"action": "clone"}, "action"),
        ({"generation": "2"}, "generation"),
        ({"paths": [1]}, "paths[0]"),
        ({"paths": "src"}, "paths"),
        ({"strategy": "mine"}, "strategy"),
        ({"depth": 1}, "depth"),
    ],
)
def test_a_malformed_event_is_refused_with_the_name_of_the_field(
    function: Function, changes: dict[str, Any], field: str
) -> None:
    error = function("checkout", asked(errors="return", **changes))["error"]
    assert (error["code"], error["details"]) == ("malformed_event", {"field": field})


def test_a_container_of_one_tenant_refuses_others(function: Function, make_project: MakeProject) -> None:
    make_project()
    event = asked(errors="return")
    assert function("checkout", event, tenant_id="umbrella")["error"]["code"] == "denied"
    assert function("checkout", event, tenant_id="default")["kind"] == "new"


def test_no_room_in_tmp_is_told_before_anything_is_written(
    make_function: MakeFunction, function: Function, make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    from manifold_common.engine import object_cache

    make_project()
    monkeypatch.setattr(object_cache, "free_bytes", lambda folder: 1 << 20)
    error = function("checkout", asked(errors="return"))["error"]
    assert (error["code"], error["status"]) == ("no_space", 507)
    assert error["details"]["free"] == 1 << 20
    assert function.manifold.context.catalog.view_session(ANN.tenant, ANN.user, SessionId("agent-1")) is None
