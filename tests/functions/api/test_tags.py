"""Tags over HTTP, and everything that takes a generation."""

from __future__ import annotations

import io
import re
import tarfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from manifold_common.adapters.memory.catalog import tags as memory_tags
from manifold_common.ports.catalog import tags as catalog_tags

from tests.support.api import Api, MakeApi

P = "/api/v1/projects/demo"


@pytest.fixture
def demo(api: Api) -> Api:
    """A project in which each of three generations says of itself which it is."""
    api.project()
    for number in (1, 2, 3):
        api.put(f"{P}/files/a.txt", content=str(number).encode())
    return api


def tag(api: Api, name: str, generation: int | str, **headers: str) -> httpx.Response:
    named = {header.replace("_", "-"): value for header, value in headers.items()}
    return api.put(f"{P}/tags/{name}", json={"generation": generation}, headers=named)


def place(answer: httpx.Response) -> str:
    """Return where a tag is, as If-Match may name it whenever the tag came there."""
    return f"{answer.json()['generation']}-{answer.json()['commit']}"


def test_a_tag_is_made_read_and_removed(demo: Api) -> None:
    made = tag(demo, "release-1", 2)
    found = made.json()
    assert made.status_code == 201
    commit = demo.get(f"{P}/commits/2").json()
    assert (found["name"], found["generation"], found["commit"], found["user"]) == (
        "release-1",
        2,
        commit["id"],
        "local",
    )
    assert re.fullmatch(f'"2-{commit["id"]}@[0-9]{{16}}"', made.headers["etag"])
    read = demo.get(made.headers["location"])
    assert (read.json(), read.headers["etag"]) == (found, made.headers["etag"])
    assert demo.get(made.headers["location"], headers={"If-None-Match": read.headers["etag"]}).status_code == 304
    assert demo.get(f"{P}/tags").json() == {"items": [found], "next_cursor": None}
    assert demo.delete(f"{P}/tags/release-1").status_code == 204
    assert demo.get(f"{P}/tags/release-1").json()["code"] == "not_found"
    assert demo.delete(f"{P}/tags/release-1").status_code == 404


def test_a_tag_that_is_there_already_is_answered_as_it_is(demo: Api) -> None:
    made = tag(demo, "release-1", 2)
    again = tag(demo, "release-1", 2)
    assert (again.status_code, again.json()) == (200, made.json())
    assert "location" not in again.headers


def test_a_tag_is_moved_by_its_etag_alone(demo: Api) -> None:
    made = tag(demo, "release-1", 1)
    refused = tag(demo, "release-1", 2)
    assert (refused.status_code, refused.json()["code"]) == (409, "already_exists")
    assert f'"{place(made)}"' in refused.json()["hint"]
    for wrong in ('"1"', f'"1-{"a" * 26}"', f"W/{made.headers['etag']}"):
        failed = tag(demo, "release-1", 2, If_Match=wrong)
        assert (failed.status_code, failed.json()["code"]) == (412, "precondition_failed"), wrong
        assert "the project" not in failed.json()["detail"]
    moved = tag(demo, "release-1", 2, If_Match=made.headers["etag"])
    assert (moved.status_code, moved.json()["generation"]) == (200, 2)
    assert moved.headers["etag"] != made.headers["etag"]
    assert tag(demo, "release-1", 3, If_Match=made.headers["etag"]).status_code == 412
    assert tag(demo, "release-1", 3, If_Match="*").json()["generation"] == 3


def together(api: Api, monkeypatch: pytest.MonkeyPatch, ask: Callable[[int], httpx.Response]) -> list[httpx.Response]:
    """Return the answers to eight requests, each of which has looked at the tag before any of them changes it."""
    barrier, looked, find = threading.Barrier(8), threading.local(), api.manifold.context.catalog.find_tag

    def find_together(*which: Any) -> Any:
        found = find(*which)
        if not getattr(looked, "once", False):
            looked.once = True
            barrier.wait(20)
        return found

    with monkeypatch.context() as patch, ThreadPoolExecutor(8) as threads:
        patch.setattr(api.manifold.context.catalog, "find_tag", find_together)
        return list(threads.map(ask, range(8)))


def test_each_state_of_a_tag_has_an_etag_of_its_own(demo: Api) -> None:
    """Also where it names the same generation again, moved back or made anew: the answer is another one."""
    first = tag(demo, "release-1", 1)
    states = [first, tag(demo, "release-1", 2, If_Match="*"), tag(demo, "release-1", 1, If_Match="*")]
    demo.delete(f"{P}/tags/release-1")
    states.append(tag(demo, "release-1", 1))
    *before, now = [one.headers["etag"] for one in states]
    assert len({*before, now}) == 4
    for etag in before:
        read = demo.get(f"{P}/tags/release-1", headers={"If-None-Match": etag})
        assert (read.status_code, read.json()) == (200, states[-1].json())
        assert tag(demo, "release-1", 2, If_Match=etag).status_code == 412
        assert demo.delete(f"{P}/tags/release-1", headers={"If-Match": etag}).status_code == 412
    assert demo.get(f"{P}/tags/release-1", headers={"If-None-Match": now}).status_code == 304
    assert tag(demo, "release-1", 1, If_Match=now).headers["etag"] == now
    assert tag(demo, "release-1", 2, If_Match=now).status_code == 200


def test_a_tag_can_be_moved_from_a_generation_whenever_it_came_there(demo: Api) -> None:
    first, second = tag(demo, "release-1", 1), tag(demo, "other", 2)
    for generation in (2, 1):
        tag(demo, "release-1", generation, If_Match="*")
    known = demo.get(f"{P}/tags/release-1", headers={"If-None-Match": f'"{place(first)}"'})
    assert known.status_code == 200, "it says that the tag is there, and not since when"
    for wrong in (f'W/"{place(first)}"', f'"{place(second)}"', f'"{place(first)}.1"'):
        assert tag(demo, "release-1", 2, If_Match=wrong).status_code == 412, wrong
    for holds, status in ((f'"{place(first)}"', 200), (f'"{place(second)}"', 412), ('"1"', 412)):
        read = demo.get(f"{P}/tags/release-1", headers={"If-Match": holds})
        assert read.status_code == status, holds
        assert status == 200 or read.json()["code"] == "precondition_failed"
    assert tag(demo, "release-1", 2, If_Match=f'"x", "{place(first)}"').status_code == 200
    assert demo.delete(f"{P}/tags/release-1", headers={"If-Match": f'"{place(first)}"'}).status_code == 412
    assert demo.delete(f"{P}/tags/release-1", headers={"If-Match": f'"{place(second)}"'}).status_code == 204


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_who_asks_for_a_tag_as_it_was_before_is_told_that_the_tag_was_changed(demo: Api, method: str) -> None:
    tag(demo, "release-1", 1)
    headers = {"If-Unmodified-Since": "Sat, 01 Jan 2000 00:00:00 GMT"}
    body: dict[str, Any] = {"json": {"generation": 1}} if method == "PUT" else {}
    failed = demo.request(method, f"{P}/tags/release-1", headers=headers, **body)
    assert (failed.status_code, failed.json()["code"]) == (412, "precondition_failed")
    assert failed.json()["detail"].startswith("the tag 'release-1' was changed after 2000-01-01")


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_tag_that_comes_back_between_look_and_change_is_not_as_it_was_seen(
    demo: Api, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    made = tag(demo, "release-1", 1)
    catalog = demo.manifold.context.catalog
    find = catalog.find_tag

    def find_then_move(*which: Any) -> Any:
        monkeypatch.setattr(catalog, "find_tag", find)
        found = find(*which)
        for generation in (2, 1):
            assert tag(demo, "release-1", generation, If_Match="*").status_code == 200
        return found

    for header, status in ((made.headers["etag"], 412), (f'"{place(made)}"', 200 if method == "PUT" else 204)):
        monkeypatch.setattr(catalog, "find_tag", find_then_move)
        body: dict[str, Any] = {"json": {"generation": 3}} if method == "PUT" else {}
        done = demo.request(method, f"{P}/tags/release-1", headers={"If-Match": header}, **body)
        assert done.status_code == status
        if status == 412:
            made = demo.get(f"{P}/tags/release-1")


def test_if_none_match_only_makes(demo: Api) -> None:
    assert tag(demo, "release-1", 1, If_None_Match="*").status_code == 201
    for generation in (1, 2):
        failed = tag(demo, "release-1", generation, If_None_Match="*")
        assert (failed.status_code, failed.json()["code"]) == (412, "already_exists")
        both = tag(demo, "release-1", generation, If_None_Match="*", If_Match="*")
        assert (both.status_code, both.json()["code"]) == (412, "precondition_failed")
    assert tag(demo, "absent", 1, If_None_Match="*", If_Match="*").status_code == 412
    assert tag(demo, "absent", 1, If_Match='"1"').status_code == 412
    assert [one["generation"] for one in demo.get(f"{P}/tags").json()["items"]] == [1]


@pytest.mark.parametrize(
    "headers",
    [
        {"If_None_Match": '"other"'},
        {"If_Unmodified_Since": "Fri, 01 Jan 2100 00:00:00 GMT"},
        {"If_None_Match": '"other"', "If_Unmodified_Since": "Fri, 01 Jan 2100 00:00:00 GMT"},
    ],
)
def test_no_other_condition_than_if_match_moves_a_tag(demo: Api, headers: dict[str, str]) -> None:
    assert tag(demo, "release-1", 1, **headers).status_code == 201
    refused = tag(demo, "release-1", 2, **headers)
    assert (refused.status_code, refused.json()["code"]) == (409, "already_exists")
    assert tag(demo, "release-1", 1, **headers).status_code == 200
    assert tag(demo, "release-1", 2, **headers, If_Match="*").json()["generation"] == 2


def test_of_those_that_only_make_it_at_once_one_does(demo: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, most in (("same", 1), ("other", 3)):

        def make(one: int, name: str = name, most: int = most) -> httpx.Response:
            return tag(demo, name, 1 + one % most, If_None_Match="*")

        done = together(demo, monkeypatch, make)
        assert sorted(one.status_code for one in done) == [201] + [412] * 7
        assert {one.json()["code"] for one in done if one.status_code == 412} == {"already_exists"}


def test_wherever_a_tag_is_it_is_moved_also_by_several_at_once(demo: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    tag(demo, "release-1", 1)
    done = together(demo, monkeypatch, lambda one: tag(demo, "release-1", 1 + one % 3, If_Match="*"))
    assert [one.status_code for one in done] == [200] * 8


def test_wherever_a_tag_is_it_is_removed_once(demo: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while others move it: whoever comes after it is gone has nothing to move."""
    tag(demo, "release-1", 1)
    address, headers = f"{P}/tags/release-1", {"If-Match": "*"}

    def ask(one: int) -> httpx.Response:
        return demo.delete(address, headers=headers) if one < 2 else tag(demo, "release-1", 1 + one % 3, If_Match="*")

    done = [one.status_code for one in together(demo, monkeypatch, ask)]
    assert sorted(done[:2]) == [204, 412]
    assert set(done[2:]) <= {200, 412}
    assert demo.get(address).status_code == 404


def test_without_a_condition_a_tag_is_removed_wherever_it_is(demo: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    tag(demo, "release-1", 1)
    address = f"{P}/tags/release-1"

    def ask(one: int) -> httpx.Response:
        return demo.delete(address) if one == 0 else tag(demo, "release-1", 1 + one % 3, If_Match="*")

    assert together(demo, monkeypatch, ask)[0].status_code == 204


def test_a_tag_that_was_moved_is_not_removed_by_who_saw_it_before(demo: Api) -> None:
    made = tag(demo, "release-1", 1)
    tag(demo, "release-1", 2, If_Match=made.headers["etag"])
    old = {"If-Match": made.headers["etag"]}
    assert demo.delete(f"{P}/tags/release-1", headers=old).status_code == 412
    new = {"If-Match": demo.get(f"{P}/tags/release-1").headers["etag"]}
    assert demo.delete(f"{P}/tags/release-1", headers=new).status_code == 204


@pytest.mark.parametrize("name", ["7", "head", "HEAD", "a%20b", "-a", ".a", "x" * 65, "%C3%A4"])
def test_a_name_that_no_tag_can_have_is_refused(demo: Api, name: str) -> None:
    for answer in (tag(demo, name, 1), demo.get(f"{P}/tags/{name}"), demo.delete(f"{P}/tags/{name}")):
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
        assert answer.json()["hint"]


@pytest.mark.parametrize("generation", [0, 4, "absent"])
def test_what_is_not_there_has_no_tag(demo: Api, generation: int | str) -> None:
    assert tag(demo, "release-1", generation).status_code == 404
    assert demo.get(f"{P}/tags").json()["items"] == []


@pytest.mark.parametrize("generation", [-1, "7", "1-" + "a" * 26, "head", None, 1.5, True, [1]])
def test_what_names_no_generation_is_refused(demo: Api, generation: Any) -> None:
    assert tag(demo, "release-1", generation).status_code == 400


@pytest.mark.parametrize("generation", ["7", "07", "1-" + "a" * 26, "head", ""])
def test_a_body_and_a_query_say_alike_what_names_a_generation(demo: Api, generation: str) -> None:
    sentence = "write its number, such as 7, or the name of a tag"
    for path, body in (("fork", {"name": "other"}), ("restore", {}), ("read", {"paths": [{"path": "a.txt"}]})):
        refused = demo.post(f"{P}/{path}", json={**body, "generation": generation}).json()
        assert (refused["code"], refused["details"]["field"]) == ("invalid_input", "generation")
        assert refused["detail"].endswith(f"generation: it is not a generation: {sentence}")
    assert sentence in tag(demo, "release-1", generation).json()["detail"]
    assert demo.get(f"{P}/tree?generation=07").json()["hint"] == sentence


def test_a_tag_is_set_and_removed_without_a_name_for_the_request(demo: Api) -> None:
    named = {"Idempotency-Key": "once"}
    assert tag(demo, "release-1", 1, **named).status_code == 400
    assert demo.delete(f"{P}/tags/release-1", headers=named).status_code == 400


def test_who_makes_one_tag_more_than_there_may_be_is_told_of_the_limit(
    demo: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (memory_tags, catalog_tags):
        monkeypatch.setattr(module, "MAX_TAGS", 1)
    tag(demo, "release-1", 1)
    refused = tag(demo, "release-2", 1)
    assert (refused.status_code, refused.json()["code"]) == (413, "quota_exceeded")


def test_an_answer_to_who_sets_a_tag_has_its_etag_and_no_time(demo: Api) -> None:
    made = tag(demo, "release-1", 1)
    time.sleep(1.1)
    same = tag(demo, "release-1", 1)
    assert (same.status_code, same.headers["etag"]) == (200, made.headers["etag"])
    assert "last-modified" not in same.headers
    assert "last-modified" in demo.get(f"{P}/tags/release-1").headers


def test_tags_are_listed_by_name_page_by_page(demo: Api) -> None:
    names = [f"t{number:02}" for number in range(7)]
    for name in reversed(names):
        tag(demo, name, 1)
    found, query = [], {"limit": "3"}
    while True:
        page = demo.get(f"{P}/tags", params=query).json()
        found += [one["name"] for one in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert found == names
    demo.project("other")
    lost = demo.get("/api/v1/projects/other/tags", params=query)
    assert lost.json()["code"] == "invalid_cursor"


def content(answer: httpx.Response) -> bytes:
    return answer.content


def archived(answer: httpx.Response) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
        file = archive.extractfile("a.txt")
        assert file is not None
        return file.read()


def forked(api: Api, generation: int | str) -> bytes:
    name = f"fork-{generation}"
    made = api.post(f"{P}/fork", json={"name": name, "generation": generation})
    assert made.status_code == 201, made.text
    return api.get(f"/api/v1/projects/{name}/files/a.txt").content


def restored(api: Api, generation: int | str) -> bytes:
    assert api.post(f"{P}/restore", json={"generation": generation}).json()["generation"] > 3
    return api.get(f"{P}/files/a.txt").content


def opened(api: Api, generation: int | str) -> bytes:
    body = {"project": "demo", "session": f"s-{generation}".lower(), "generation": generation}
    return str(api.post("/api/v1/sessions", json=body).json()["generation"]).encode()


def checked_out(api: Api, generation: int | str) -> bytes:
    api.post("/api/v1/sessions", json={"project": "demo", "session": "s1", "generation": 2})
    done = api.post("/api/v1/sessions/s1/checkout", json={"generation": generation})
    return str(done.json()["generation"]).encode()


EVERYWHERE: dict[str, Callable[[Api, int | str], bytes]] = {
    "file": lambda api, named: content(api.get(f"{P}/files/a.txt", params={"generation": named})),
    "archive": lambda api, named: archived(api.get(f"{P}/archive", params={"generation": named, "format": "tar"})),
    "tree": lambda api, named: str(api.get(f"{P}/tree", params={"generation": named}).json()["generation"]).encode(),
    "commit": lambda api, named: str(api.get(f"{P}/commits/{named}").json()["generation"]).encode(),
    "log": lambda api, named: str(
        api.get(f"{P}/commits", params={"before_generation": named}).json()["items"][0]["generation"] + 1
    ).encode(),
    "before": lambda api, named: str(
        api.get(f"{P}/diff", params={"before": named, "after": 2}).json()["before"]
    ).encode(),
    "after": lambda api, named: str(
        api.get(f"{P}/diff", params={"before": 1, "after": named}).json()["after"]
    ).encode(),
    "read": lambda api, named: str(
        api.post(f"{P}/read", json={"paths": [{"path": "a.txt"}], "generation": named}).json()["generation"]
    ).encode(),
    "tag": lambda api, named: str(tag(api, "another", named).json()["generation"]).encode(),
    "fork": forked,
    "restore": restored,
    "session": opened,
    "checkout": checked_out,
}


@pytest.mark.parametrize("where", sorted(EVERYWHERE))
@pytest.mark.parametrize("named", [3, "Release-3"])
def test_a_tag_can_be_named_wherever_a_generation_can(demo: Api, where: str, named: int | str) -> None:
    tag(demo, "Release-3", 3)
    if where == "restore":
        demo.put(f"{P}/files/a.txt", content=b"4")
    assert EVERYWHERE[where](demo, named) == b"3"


@pytest.mark.parametrize("address", ["tree", "tree/d", "files/a.txt", "archive", "commits"])
def test_what_is_asked_for_by_a_tag_has_no_time_since_the_tag_may_go_back(demo: Api, address: str) -> None:
    """Its ETag tells versions apart; the time of a generation does not, where an older one can come after it."""
    demo.post(f"{P}/dirs", json={"path": "d"})
    address, query = (f"{P}/{address}", "?generation={}") if address != "commits" else (f"{P}/commits", "/{}")
    tag(demo, "release-1", 3)
    tag(demo, "release-1", 4, If_Match="*")
    later = {"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}
    earlier = {"If-Unmodified-Since": "Sat, 01 Jan 2000 00:00:00 GMT"}
    time.sleep(1.1)
    for method in ("GET", "HEAD"):
        by_number = demo.request(method, address + query.format(4))
        by_tag = demo.request(method, address + query.format("release-1"))
        assert "last-modified" in by_number.headers
        assert "last-modified" not in by_tag.headers
        assert by_tag.headers["etag"] == by_number.headers["etag"]
        assert demo.request(method, address + query.format(4), headers=later).status_code == 304
        assert demo.request(method, address + query.format(4), headers=earlier).status_code == 412
        known = {"If-None-Match": by_tag.headers["etag"]}
        for headers, status in ((later, 200), (earlier, 200), (known, 304), (known | later, 304)):
            assert demo.request(method, address + query.format("release-1"), headers=headers).status_code == status


def test_a_plan_can_be_asked_for_by_a_tag(make_api: MakeApi) -> None:
    api = make_api(in_folder=True)
    api.project()
    for number in (1, 2):
        api.put(f"{P}/files/a.txt", content=str(number).encode())
    tag(api, "first", 1)
    tag(api, "second", 2)
    assert api.post(f"{P}/plan", json={"generation": "first"}).json()["generation"] == 1
    opened = api.post("/api/v1/sessions/s1/plan", json={"project": "demo", "generation": "first"})
    assert opened.json()["plan"]["generation"] == 1
    moved = api.post("/api/v1/sessions/s1/plan", json={"generation": "second"})
    assert moved.json()["plan"]["generation"] == 2
    assert api.post("/api/v1/sessions/s1/plan", json={"generation": "third"}).status_code == 404
    assert api.post("/api/v1/sessions/s2/plan", json={"generation": "first"}).status_code == 404


@pytest.mark.parametrize(
    "address",
    ["files/a.txt?generation={}", "tree?generation={}", "archive?generation={}", "commits/{}", "diff?before={}&after=1",
     "diff?before=1&after={}", "commits?before_generation={}"],
)  # fmt: skip
def test_what_is_neither_a_number_nor_a_tag_that_is_there_is_said_so(demo: Api, address: str) -> None:
    tag(demo, "release-1", 1)
    for wrong in ("07", "-1", "1.0", "head", "1-" + "a" * 26, "9" * 20, "a%20b"):
        refused = demo.get(f"{P}/{address.format(wrong)}")
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid_input"), wrong
    missing = demo.get(f"{P}/{address.format('release-2')}")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    assert "release-1" in missing.json()["hint"]


def test_the_pages_of_a_list_are_of_the_generation_that_the_tag_named_at_first(demo: Api) -> None:
    for name in "bcd":
        demo.put(f"{P}/files/{name}.txt", content=b"x")
    made = tag(demo, "release-1", 6)
    for address, query in (
        ("tree", {"generation": "release-1", "limit": "2"}),
        ("diff", {"before": "1", "after": "release-1", "limit": "2"}),
    ):
        first = demo.get(f"{P}/{address}", params=query).json()
        tag(demo, "release-1", 1, If_Match="*")
        rest = demo.get(f"{P}/{address}", params={**query, "cursor": first["next_cursor"]}).json()
        assert [one["path"] for one in first["items"] + rest["items"]] == [f"{name}.txt" for name in "abcd"]
        demo.delete(f"{P}/tags/release-1")
        assert demo.get(f"{P}/{address}", params={**query, "cursor": first["next_cursor"]}).json() == rest
        assert tag(demo, "release-1", 6).json()["generation"] == made.json()["generation"]


def test_a_condition_takes_no_tag(demo: Api) -> None:
    """It is to hold of the state that was seen, which a name is not."""
    tag(demo, "release-1", 3)
    assert demo.put(f"{P}/files/b", content=b"x", headers={"If-Match": '"release-1"'}).status_code == 412
    body = {"path": "d", "expected_generation": "release-1"}
    assert demo.post(f"{P}/dirs", json=body).status_code == 400
