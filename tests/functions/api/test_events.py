"""What has happened, as clients ask for it: pages that lead on, waits, streams, and what is refused."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from manifold_common.domain.access import LOCAL_PRINCIPAL, Principal
from manifold_common.domain.event_place import Followed
from manifold_common.errors import EventsGone
from manifold_common.ids import ProjectId, TenantId, UserId
from manifold_common.ports.catalog import OutboxEvent
from manifold_common.services.events.feed import FeedPage

from functions.api import event_stream
from functions.api.traffic import Traffic, Wait
from tests.support.api import Api, MakeApi, ask, serving
from tests.support.manifold import MakeManifold
from tests.support.waiting import later, wait_until

DEMO = "/api/v1/projects/demo"
SHORT = ("SERVER_STALL_SECONDS", "SERVER_IDLE_SECONDS", "SERVER_HEAD_SECONDS", "SERVER_PATIENCE_SECONDS")


def commit(api: Api, path: str = "a", project: str = "demo", **headers: str) -> None:
    change = {"op": "put", "path": path, "text": str(time.monotonic())}
    made = api.post(f"/api/v1/projects/{project}/commits", json={"changes": [change]}, headers=headers)
    assert made.status_code == 201, made.text


def page(api: Api, path: str = f"{DEMO}/events", **query: Any) -> dict[str, Any]:
    answer = api.get(path, params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def kinds(found: dict[str, Any]) -> list[str]:
    return [event["type"].removeprefix("manifold.project.") for event in found["events"]]


def test_pages_lead_on_from_the_oldest_event(api: Api) -> None:
    api.project()
    commit(api)
    commit(api)
    first = page(api, limit=2)
    assert (kinds(first), first["has_more"]) == (["created", "commit"], True)
    second = page(api, since=first["next_cursor"])
    assert (kinds(second), second["has_more"]) == (["commit"], False)
    third = page(api, since=second["next_cursor"])
    assert third == {"events": [], "next_cursor": second["next_cursor"], "has_more": False}
    commit(api)
    assert kinds(page(api, since=third["next_cursor"])) == ["commit"]


def test_documents_are_what_sinks_get(api: Api) -> None:
    api.project()
    commit(api, **{"X-Request-Id": "run-17/step-4"})
    api.patch(DEMO, json={"name": "other"})
    sent = [dict(event.document) for event in api.manifold.events.recent()]
    shown = page(api, "/api/v1/projects/other/events")["events"]
    assert shown == sent
    assert [one.get("correlationid") for one in shown][1] == "run-17/step-4"
    assert list(map(list, shown)) == list(map(list, sent))


def test_now_is_only_what_is_to_come(api: Api) -> None:
    api.project()
    for path in (f"{DEMO}/events", "/api/v1/events"):
        begun = page(api, path, since="now")
        assert begun["events"] == []
        commit(api)
        assert kinds(page(api, path, since=begun["next_cursor"])) == ["commit"]


def test_all_projects_of_the_tenant_and_of_no_other(api: Api) -> None:
    api.project()
    api.project("other")
    stranger = Principal(TenantId("umbrella"), UserId("eve"))
    foreign = api.manifold.projects.create(stranger, "theirs")
    commit(api, project="other")
    assert kinds(page(api, "/api/v1/events")) == ["created", "created", "commit"]
    assert kinds(page(api)) == ["created"]
    assert api.get(f"/api/v1/projects/{foreign.id}/events").status_code == 404
    colleague = Principal(LOCAL_PRINCIPAL.tenant, UserId("bob"))
    theirs = api.manifold.projects.create(colleague, "bobs")
    assert api.get(f"/api/v1/projects/{theirs.id}/events").status_code == 404


def test_a_cursor_is_of_one_list(api: Api) -> None:
    api.project()
    api.project("other")
    commit(api)
    commit(api)
    mine = page(api)["next_cursor"]
    of_commits = api.get(f"{DEMO}/commits", params={"limit": 1}).json()["next_cursor"]
    for path, cursor in (
        ("/api/v1/projects/other/events", mine),
        ("/api/v1/events", mine),
        (f"{DEMO}/events", page(api, "/api/v1/events")["next_cursor"]),
        (f"{DEMO}/events", of_commits),
        (f"{DEMO}/events", "AAAA"),
        (f"{DEMO}/events", ""),
        (f"{DEMO}/commits", mine),
    ):
        answer = api.get(path, params={"since" if path.endswith("/events") else "cursor": cursor})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor"), (path, answer.text)


def refusal(api: Api, path: str = f"{DEMO}/events", method: str = "GET", **request: Any) -> httpx.Response:
    """Return an answer that is to be no stream, which would be read for ever."""
    with api.stream(method, path, **request) as answer:
        assert answer.status_code != 200
        answer.read()
    return answer


def remove(api: Api) -> None:
    catalog = api.manifold.context.catalog
    catalog.settle_events([])
    catalog.prune_events(datetime.now(UTC) + timedelta(seconds=1))


def test_who_has_missed_what_was_removed_is_told(api: Api) -> None:
    api.project()
    api.project("quiet")
    begun = {path: page(api, path, limit=1)["next_cursor"] for path in (f"{DEMO}/events", "/api/v1/events")}
    quiet = page(api, "/api/v1/projects/quiet/events")["next_cursor"]
    commit(api)
    remove(api)
    commit(api)
    for path, cursor in begun.items():
        for accept in ("application/json", "text/event-stream"):
            gone = api.get(path, params={"since": cursor}, headers={"Accept": accept})
            assert (gone.status_code, gone.json()["code"]) == (410, "events_gone"), gone.text
            assert "since=now" in gone.json()["hint"]
        assert kinds(page(api, path)) == ["commit"]
    commit(api, project="quiet")
    assert kinds(page(api, "/api/v1/projects/quiet/events", since=quiet)) == ["commit"]


def test_a_deletion_is_told_to_who_has_followed_the_project_and_then_it_is_not_there(api: Api) -> None:
    project = api.project()
    path, everything = f"/api/v1/projects/{project}/events", page(api, "/api/v1/events")["next_cursor"]
    seen = page(api, path)["next_cursor"]
    assert api.delete(f"/api/v1/projects/{project}").status_code == 204
    assert api.get(path).status_code == 404
    assert api.get(path, params={"since": "now"}).status_code == 404
    told = page(api, path, since=seen)
    assert kinds(told) == ["deleted"]
    after = api.get(path, params={"since": told["next_cursor"], "wait": 5})
    assert (after.status_code, after.json()["code"]) == (404, "not_found")
    assert api.get(f"{DEMO}/events", params={"since": seen}).status_code == 404
    assert kinds(page(api, "/api/v1/events", since=everything)) == ["deleted"]


def test_whose_project_was_deleted_and_its_name_taken_anew_is_told_so(api: Api) -> None:
    api.project()
    seen = page(api)["next_cursor"]
    api.project("other")
    of_other = page(api, "/api/v1/projects/other/events")["next_cursor"]
    assert api.delete(DEMO).status_code == 204
    again = api.project()
    for ways in ({"params": {"since": seen}}, {"headers": {"Accept": "text/event-stream", "Last-Event-ID": seen}}):
        gone = refusal(api, **ways)
        assert (gone.status_code, gone.json()["code"]) == (410, "events_gone"), gone.text
    for path, cursor in ((f"/api/v1/projects/{again}/events", seen), (f"{DEMO}/events", of_other)):
        assert api.get(path, params={"since": cursor}).json()["code"] == "invalid_cursor"


def test_names_of_files_are_in_events_only_if_that_is_allowed(make_api: MakeApi) -> None:
    for allowed, shown in (("false", None), ("true", ["a"])):
        api = make_api(KAFKA_INCLUDE_PATHS=allowed)
        api.project(f"demo-{allowed}")
        commit(api, project=f"demo-{allowed}")
        found = page(api, f"/api/v1/projects/demo-{allowed}/events")
        assert found["events"][-1]["data"]["changed_paths"] == shown


# --- waiting --------------------------------------------------------------------------------------------------------


def test_a_wait_ends_at_once_when_this_process_writes(api: Api) -> None:
    api.project()
    for path in (f"{DEMO}/events", "/api/v1/events"):
        begun = page(api, path, since="now")["next_cursor"]
        writer = later(0.3, lambda: commit(api))
        started = time.monotonic()
        found = page(api, path, since=begun, wait=20)
        taken = time.monotonic() - started
        writer.join()
        assert kinds(found) == ["commit"]
        assert 0.25 < taken < 5
        assert kinds(page(api, path, since=begun, wait=20)) == ["commit"]  # is there already


def test_a_wait_ends_soon_when_another_process_writes(api: Api) -> None:
    project = ProjectId(api.project())
    begun = page(api, since="now")["next_cursor"]
    catalog, event = api.manifold.context.catalog, OutboxEvent("manifold.project.renamed", {"user_id": "local"})
    writer = later(0.2, lambda: catalog.rename_project(LOCAL_PRINCIPAL.tenant, project, "new", event))
    assert kinds(page(api, f"/api/v1/projects/{project}/events", since=begun, wait=20)) == ["renamed"]
    writer.join()


def test_a_wait_in_which_nothing_happens_ends_with_the_same_cursor(api: Api) -> None:
    api.project()
    begun = page(api, since="now")
    started = time.monotonic()
    assert page(api, since=begun["next_cursor"], wait=1) == begun
    assert 0.9 < time.monotonic() - started < 5
    assert api.get(f"{DEMO}/events", params={"wait": 56}).status_code == 400
    assert api.get(f"{DEMO}/events", params={"wait": -1}).status_code == 400
    started = time.monotonic()
    assert api.head(f"{DEMO}/events", params={"since": begun["next_cursor"], "wait": 20}).status_code == 200
    assert time.monotonic() - started < 5


def test_a_deletion_ends_the_wait_for_what_happens_in_the_project(api: Api) -> None:
    api.project()
    begun = page(api, since="now")["next_cursor"]
    writer = later(0.2, lambda: api.manifold.projects.delete(LOCAL_PRINCIPAL, ProjectId(project)))
    project = api.get(DEMO).json()["id"]
    assert kinds(page(api, since=begun, wait=20)) == ["deleted"]
    writer.join()


def test_many_wait_with_one_look_at_a_time_and_no_thread_each(
    make_api: MakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = make_api(SERVER_MAX_REQUESTS_PER_PEER="200", **dict.fromkeys(SHORT, "1"))
    api.project()
    looks: list[int] = []
    look = api.manifold.feed.with_news

    def counted(places: Sequence[tuple[Followed, int]]) -> list[int]:
        looks.append(len(places))
        return look(places)

    monkeypatch.setattr(api.manifold.feed, "with_news", counted)
    begun = page(api, since="now")["next_cursor"]
    threads = threading.active_count()
    with ExitStack() as stack:
        waiting = [stack.enter_context(closing(ask(api, f"{DEMO}/events?since={begun}&wait=20"))) for _ in range(80)]
        started = time.monotonic()
        time.sleep(3)  # longer than a client may stand still, a connection lie idle, or a dependency be waited for
        assert api.get(DEMO).status_code == 200
        assert len(looks) <= 2 * (time.monotonic() - started) + 2
        assert set(looks) == {1}  # one place, whoever follows it
        assert threading.active_count() - threads < 60
        commit(api)
        for connection in waiting:
            connection.settimeout(10)
            assert connection.recv(12) == b"HTTP/1.1 200"


def test_those_who_wait_leave_room_for_others_and_are_forgotten_when_they_hang_up(
    make_api: MakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = make_api(SERVER_MAX_REQUESTS_PER_PEER="8")
    api.project()
    begun = page(api, since="now")["next_cursor"]
    target = f"{DEMO}/events?since={begun}&wait=50"

    entered: list[str] = []
    count = Traffic.waiting

    def counted(self: Traffic, peer: str, **more: Any) -> AbstractContextManager[Wait]:
        entered.append(peer)
        return count(self, peer, **more)

    monkeypatch.setattr(Traffic, "waiting", counted)
    waiting = [ask(api, target), ask(api, target), ask(api, target)]
    waiting.append(ask(api, f"{DEMO}/events?since={begun}", accept="text/event-stream"))
    wait_until(lambda: len(entered) == 4)
    told = api.get(target).json()
    assert (told["code"], "maxRequestsPerPeer" in told["hint"]) == ("too_many_requests", True)
    assert api.get(f"{DEMO}/events", headers={"Accept": "text/event-stream"}).status_code == 429
    assert kinds(page(api)) == ["created"]  # who need not wait is served
    assert api.get(DEMO).status_code == 200
    for connection in waiting:
        connection.close()
    wait_until(lambda: api.get(target.replace("wait=50", "wait=1")).status_code == 200, 5)


def test_the_end_of_the_server_ends_waits_at_once(make_manifold: MakeManifold) -> None:
    with serving(make_manifold()) as api:
        api.project()
        begun = page(api, since="now")["next_cursor"]
        waiting = ask(api, f"{DEMO}/events?since={begun}&wait=50", connection="close")
        streaming = ask(api, f"{DEMO}/events", accept="text/event-stream", connection="close")
        assert streaming.recv(12) == b"HTTP/1.1 200"
        time.sleep(0.3)
        started = time.monotonic()
    assert time.monotonic() - started < 4
    with closing(waiting), closing(streaming):
        answer = b"".join(iter(lambda: waiting.recv(1 << 16), b""))
        assert answer.startswith(b"HTTP/1.1 200") and begun.encode() in answer
        assert b"".join(iter(lambda: streaming.recv(1 << 16), b"")).endswith(b"0\r\n\r\n")


def test_a_stream_whose_reader_takes_nothing_ends_with_the_server(
    make_manifold: MakeManifold, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(make_manifold(KAFKA_INCLUDE_PATHS="true")) as api:
        project, catalog = ProjectId(api.project()), api.manifold.context.catalog
        large = OutboxEvent("manifold.project.renamed", {"user_id": "local", "filler": "x" * (200 << 10)})
        for number in range(60):
            catalog.rename_project(LOCAL_PRINCIPAL.tenant, project, f"n{number}", large)
        connection = ask(api, f"/api/v1/projects/{project}/events", accept="text/event-stream")
        time.sleep(0.5)
        started = time.monotonic()
    assert time.monotonic() - started < 3
    connection.close()
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


# --- streams --------------------------------------------------------------------------------------------------------


class Stream:
    """What an EventSource makes of an answer."""

    def __init__(self, answer: httpx.Response) -> None:
        self.last_id = ""
        self._lines = answer.iter_lines()

    def next(self) -> dict[str, str]:
        """Return the next block: its fields. A comment alone is one without any."""
        block: dict[str, str] = {}
        for line in self._lines:
            if not line:
                self.last_id = block.get("id", self.last_id)
                return block
            name, _, value = line.partition(":")
            if name:
                block[name] = value.removeprefix(" ")
        raise EOFError


@contextmanager
def streaming(api: Api, path: str = f"{DEMO}/events", last: str | None = None, **query: Any) -> Iterator[Stream]:
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-cache"}
    if last is not None:
        headers["Last-Event-ID"] = last
    with api.stream("GET", path, params=query, headers=headers) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert (answer.headers["cache-control"], answer.headers["x-accel-buffering"]) == ("no-store", "no")
        yield Stream(answer)


def test_a_stream_goes_on_and_is_taken_up_where_it_was(api: Api) -> None:
    api.project()
    commit(api)
    documents = page(api)["events"]
    with streaming(api) as stream:
        assert stream.next() == {"retry": "3000"}
        first, second = stream.next(), stream.next()
        assert [json.loads(one["data"]) for one in (first, second)] == documents
        assert second["event"] == "manifold.project.commit"
        assert second["id"] == page(api)["next_cursor"]
        commit(api)
        assert json.loads(stream.next()["data"])["data"]["generation"] == 2
    with streaming(api, last=first["id"], since="now") as stream:
        assert stream.next() == {"retry": "3000", "id": first["id"]}
        assert json.loads(stream.next()["data"]) == documents[1]
    assert kinds(page(api, since=first["id"])) == ["commit", "commit"]


def test_a_stream_from_now_on_says_where_it_begins(api: Api) -> None:
    api.project()
    with streaming(api, since="now") as stream:
        stream.next()
        begun = stream.last_id
    commit(api)
    with streaming(api, since="now", last=begun) as stream:
        stream.next()
        assert stream.next()["event"] == "manifold.project.commit"


def test_the_last_id_counts_for_pages_alike_and_is_said_once(api: Api) -> None:
    api.project()
    first = page(api)["next_cursor"]
    commit(api)
    for accept in ("application/json", "text/event-stream"):
        refused = refusal(api, headers={"Accept": accept, "Last-Event-ID": "garbage"})
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid_cursor")
        twice = [("Accept", accept), ("Last-Event-ID", first), ("Last-Event-ID", first)]
        refused = refusal(api, headers=twice)
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid_input")
        assert "twice" in refused.json()["detail"]
    found = api.get(f"{DEMO}/events", params={"since": "now"}, headers={"Last-Event-ID": first}).json()
    assert kinds(found) == ["commit"]
    assert kinds(api.get(f"{DEMO}/events", headers={"Last-Event-ID": ""}).json()) == ["created", "commit"]


@pytest.mark.parametrize(
    ("header", "value", "status"),
    [
        ("If-Match", '"x"', 412),
        ("If-Match", '"1"', 412),
        ("If-Match", "*", 200),
        ("If-Match", "zzz", 400),
        ("If-None-Match", "*", 304),
        ("If-None-Match", '"x"', 200),
        ("If-None-Match", "zzz", 400),
        ("If-Modified-Since", "Sat, 01 Jan 2050 00:00:00 GMT", 200),
    ],
)
def test_conditions_hold_for_streams(api: Api, header: str, value: str, status: int) -> None:
    api.project()
    headers = {"Accept": "text/event-stream", header: value}
    for method in ("GET", "HEAD"):
        with api.stream(method, f"{DEMO}/events", headers=headers) as answer:
            assert answer.status_code == status
    begun = page(api)["next_cursor"]
    remove(api)
    commit(api)
    remove(api)  # what cannot begin is that, whatever its conditions
    assert refusal(api, params={"since": begun}, headers=headers).status_code == 410


def test_head_of_a_stream_is_answered_as_get_is(make_api: MakeApi) -> None:
    api = make_api(SERVER_MAX_REQUESTS_PER_PEER="4")
    api.project()
    begun = page(api)["next_cursor"]
    headers = {"Accept": "text/event-stream"}
    for _ in range(5):  # more than may wait at once
        assert api.head(f"{DEMO}/events", headers=headers).status_code == 200
    commit(api)
    remove(api)
    assert api.head(f"{DEMO}/events", params={"since": begun}, headers=headers).status_code == 410
    with streaming(api), streaming(api):
        for method in ("GET", "HEAD"):
            assert refusal(api, method=method, headers=headers).status_code == 429


@pytest.mark.parametrize("name", ["limit", "wait"])
def test_a_stream_that_goes_on_is_not_told_when_to_end(api: Api, name: str) -> None:
    api.project()
    for method in ("GET", "HEAD"):
        refused = refusal(api, method=method, params={name: 5}, headers={"Accept": "text/event-stream"})
        assert refused.status_code == 400
    refused = refusal(api, "/api/v1/events", params={name: 5}, headers={"Accept": "text/event-stream"}).json()
    assert (refused["code"], refused["details"]["parameter"], name in refused["hint"]) == ("invalid_input", name, True)


def test_a_stream_in_which_nothing_happens_shows_that_it_is_alive(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "_HEARTBEAT_SECONDS", 0.1)
    api.project()
    with streaming(api, since="now") as stream:
        stream.next()
        assert [stream.next() for _ in range(3)] == [{}, {}, {}]
        commit(api)
        while not (block := stream.next()):
            pass
        assert block["event"] == "manifold.project.commit"


def test_a_stream_ends_with_the_project_or_when_it_cannot_go_on(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    project = api.project()
    path = f"/api/v1/projects/{project}/events"
    with streaming(api, path) as stream:
        stream.next(), stream.next()
        assert api.delete(f"/api/v1/projects/{project}").status_code == 204
        assert stream.next()["event"] == "manifold.project.deleted"
        with pytest.raises(EOFError):
            stream.next()
    again = api.get(path, headers={"Accept": "text/event-stream", "Last-Event-ID": stream.last_id})
    assert again.status_code == 404

    def gone(*_: object, **__: object) -> None:
        raise EventsGone("removed")

    api.project()
    with streaming(api) as stream:
        stream.next(), stream.next()
        monkeypatch.setattr(api.manifold.feed, "page", gone)
        commit(api)
        with pytest.raises(EOFError):
            stream.next()
    answer = api.get(f"{DEMO}/events", headers={"Accept": "text/event-stream", "Last-Event-ID": stream.last_id})
    assert (answer.status_code, answer.json()["code"]) == (410, "events_gone")


def test_a_stream_has_a_bound(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "_LONGEST_SECONDS", 0.3)
    monkeypatch.setattr(event_stream, "_HEARTBEAT_SECONDS", 0.1)
    api.project()
    with streaming(api) as stream, pytest.raises(EOFError):
        for _ in range(100):
            stream.next()


@pytest.mark.parametrize(
    ("accept", "is_stream"),
    [
        ("text/event-stream", True),
        ("Text/Event-Stream;q=0.9, */*;q=0.1", True),
        ("application/json, text/event-stream", False),
        ("text/event-stream, application/json;q=0.1", True),
        ("application/json;q=0.5, text/event-stream;q=0.4", False),
        ("text/event-stream, */*", True),
        ("text/event-stream;q=0.1, */*", False),
        ("text/event-stream; charset=utf-8 ; Q=0.5", True),
        ('text/plain; a="b, text/event-stream"', False),
        ("text/*, */*;q=0.1", False),  # what goes on is only for who names it
        ("text/event-stream;q=0, */*", False),
        ("text/event-stream;q=0.00", False),
        ("text/event-stream;q=x", False),
        ("*/*", False),
        ("", False),
    ],
)
def test_who_gets_a_stream(api: Api, accept: str, is_stream: bool) -> None:
    api.project()
    with api.stream("GET", f"{DEMO}/events", headers={"Accept": accept}) as answer:
        kind = "text/event-stream" if is_stream else "application/json"
        assert answer.headers["content-type"].partition(";")[0] == kind
        assert "Accept" in answer.headers["vary"]
    assert api.head(f"{DEMO}/events", headers={"Accept": accept}).headers["content-type"].startswith(kind)


def test_a_reader_that_takes_nothing_is_not_read_for_and_is_cut_off(
    make_api: MakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = make_api(SERVER_STALL_SECONDS="1", SERVER_MAX_REQUESTS_PER_PEER="4", KAFKA_INCLUDE_PATHS="true")
    project, catalog = ProjectId(api.project()), api.manifold.context.catalog
    large = OutboxEvent("manifold.project.renamed", {"user_id": "local", "filler": "x" * (200 << 10)})
    for number in range(200):
        catalog.rename_project(LOCAL_PRINCIPAL.tenant, project, f"n{number}", large)
    reads: list[int] = []
    read = api.manifold.feed.page

    def counted(*given: Any, **more: Any) -> FeedPage:
        found = read(*given, **more)
        reads.append(sum(len(event.document) for event in found.events))
        return found

    monkeypatch.setattr(api.manifold.feed, "page", counted)
    connection = api.connect()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    with closing(connection):
        target = (
            f"GET /api/v1/projects/{project}/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n"
        )
        connection.sendall(target.encode())
        time.sleep(1)
        assert 0 < sum(reads) < 10 << 20  # of 40 MiB
        assert max(reads) <= 1 << 20
        time.sleep(2)
        before = len(reads)
        with pytest.raises(ConnectionError):
            while connection.recv(1 << 20):
                pass
        assert len(reads) == before
