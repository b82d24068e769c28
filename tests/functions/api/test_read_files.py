"""Many files in one answer."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

import pytest
from manifold_common.adapters.memory.object_store import MemoryObjectStore
from manifold_common.adapters.system.clock import SystemClock
from manifold_common.adapters.wrappers.counting import CountingStore
from manifold_common.domain.paths import to_display
from manifold_common.services.projects.read_files import MAX_CONTENT_BYTES

from functions.invocation.size import MAX_ANSWER_BYTES
from tests.support.api import Api, MakeApi

DEMO = "/api/v1/projects/demo"
ODD = b"caf\xe9"


@pytest.fixture(autouse=True)
def _project(api: Api) -> None:
    api.project()


def put(api: Api, files: dict[str, bytes]) -> None:
    changes = [
        {"op": "put", "path": path, "content_base64": base64.b64encode(data).decode()} for path, data in files.items()
    ]
    assert api.post(f"{DEMO}/commits", json={"changes": changes}).status_code == 201


def read(api: Api, *paths: str | dict[str, str], **more: Any) -> dict[str, Any]:
    asked = [{"path": path} if isinstance(path, str) else path for path in paths]
    answer = api.post(f"{DEMO}/read", json={"paths": asked, **more})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_each_file_comes_with_what_reading_it_by_itself_tells(api: Api) -> None:
    put(api, {"docs/a.txt": "é\n".encode(), "b.bin": b"\xff\0", "nul": b"a\0b", "empty": b""})
    api.post(f"{DEMO}/commits", json={"changes": [{"op": "link", "path": "link", "target": "b.bin"}]})
    found = read(api, "docs/a.txt", "link", "nul", "b.bin", "gone", "empty", "docs", "docs/a.txt")
    assert (found["generation"], found["absent"], found["left"]) == (2, [{"path": "gone"}], [])
    assert found["commit"] == api.get(DEMO).json()["commit"]
    items = {item["path"]: item for item in found["items"]}
    assert list(items) == ["docs/a.txt", "link", "nul", "b.bin", "empty", "docs"], "in the order asked for, each once"
    assert (items["docs/a.txt"]["text"], items["empty"]["text"]) == ("é\n", "")
    assert base64.b64decode(items["b.bin"]["content_base64"]) == b"\xff\0"
    assert base64.b64decode(items["nul"]["content_base64"]) == b"a\0b"
    assert not {"text", "content_base64", "etag"} & (items["link"].keys() | items["docs"].keys())
    assert items["link"]["target"] == "b.bin"
    listed = {item["path"]: item for item in api.get(f"{DEMO}/tree?recursive=true").json()["items"]}
    for path, item in items.items():
        content = {name: item.pop(name, None) for name in ("text", "content_base64", "etag")}
        assert item == listed[path]
        if item["kind"] == "file":
            assert api.head(f"{DEMO}/files/{path}").headers["etag"] == content["etag"]


def test_an_older_generation_and_a_path_that_is_no_text(api: Api) -> None:
    put(api, {"a": b"one"})
    put(api, {"a": b"two"})
    odd = base64.b64encode(ODD).decode()
    change = {"op": "put", "path_base64": odd, "text": "odd"}
    assert api.post(f"{DEMO}/commits", json={"changes": [change]}).status_code == 201
    assert [item["text"] for item in read(api, "a", generation=1)["items"]] == ["one"]
    (item,) = read(api, {"path_base64": odd})["items"]
    assert (item["path"], item["path_base64"], item["text"]) == (to_display(ODD), odd, "odd")
    assert read(api, {"path_base64": odd}, generation=1)["absent"] == [{"path": to_display(ODD), "path_base64": odd}]


@pytest.mark.parametrize("content", ["binary", "text", "escapes"])
def test_what_does_not_fit_is_left_and_asked_for_next(api: Api, content: str) -> None:
    made = random.Random(1)
    size = MAX_CONTENT_BYTES // 4
    data = {"binary": made.randbytes(size), "text": b"x" * size, "escapes": b"\x01" * size}[content]
    files = {f"f{number}": data + b"%d" % number for number in range(7)} | {"huge": bytes(MAX_CONTENT_BYTES + 1)}
    for path, each in files.items():
        assert api.put(f"{DEMO}/files/{path}", content=each).status_code == 201
    left: list[Any] = [{"path": path} for path in files]
    seen: dict[str, Any] = {}
    for _ in files:
        answer = api.post(f"{DEMO}/read", json={"paths": left})
        assert len(answer.content) < MAX_ANSWER_BYTES
        seen |= {item["path"]: item for item in answer.json()["items"]}
        left = answer.json()["left"]
        if not left:
            break
    assert list(seen) == list(files) and not left
    assert not {"text", "content_base64"} & seen.pop("huge").keys()
    for path, item in seen.items():
        told = item["text"].encode() if "text" in item else base64.b64decode(item["content_base64"])
        assert told == files[path]


def test_a_file_whose_escapes_take_more_than_an_answer_comes_without_content(api: Api) -> None:
    api.put(f"{DEMO}/files/escapes", content=b"\x01" * (MAX_CONTENT_BYTES - 1))
    found = read(api, "escapes", "escapes2")
    assert (found["left"], found["absent"]) == ([], [{"path": "escapes2"}])
    assert found["items"][0]["size"] == MAX_CONTENT_BYTES - 1 and "text" not in found["items"][0]


def test_paths_that_take_most_of_an_answer_leave_room_for_what_is_read(api: Api) -> None:
    put(api, {"a": b"x" * 100})
    long = [{"path_base64": base64.b64encode((b"\xff" * 200 + b"/") * 3 + b"%d" % n).decode()} for n in range(1000)]
    answer = api.post(f"{DEMO}/read", json={"paths": [*long[:999], {"path": "a"}]})
    assert answer.status_code == 200 and len(answer.content) < MAX_ANSWER_BYTES
    assert [item["path"] for item in answer.json()["items"]] == ["a"] and len(answer.json()["absent"]) == 999


@pytest.mark.parametrize(
    "body",
    [{}, {"paths": []}, {"paths": [{}]}, {"paths": ["a"]}, {"paths": [{"path": ""}]}, {"paths": [{"path": "../a"}]},
     {"paths": [{"path": "a"}] * 1001}, {"paths": [{"path": "a"}], "generation": -1}, {"paths": None}],
    ids=lambda body: json.dumps(body)[:40],
)  # fmt: skip
def test_what_is_no_such_request_is_refused(api: Api, body: dict[str, Any]) -> None:
    answer = api.post(f"{DEMO}/read", json=body)
    assert answer.status_code == 400 and answer.json()["hint"]


def test_conditions_hold_and_what_is_absent_is_told(api: Api) -> None:
    put(api, {"a": b"one"})
    asked = {"paths": [{"path": "a"}]}
    assert api.post(f"{DEMO}/read", json=asked, headers={"If-Match": '"1"'}).status_code == 200
    assert api.post(f"{DEMO}/read", json=asked, headers={"If-Match": '"0"'}).status_code == 412
    assert api.post(f"{DEMO}/read", json={**asked, "generation": 9}).status_code == 404
    assert api.post("/api/v1/projects/absent/read", json=asked).status_code == 404
    assert api.get(DEMO).json()["generation"] == 1


def test_small_files_that_share_a_block_take_one_request_of_the_store(make_api: MakeApi) -> None:
    store = CountingStore(MemoryObjectStore(SystemClock()))
    writer, reader = make_api(store=store), make_api(store=store, node="b")
    writer.project("many")
    changes = [{"op": "put", "path": f"f{n}", "text": f"{n} " * 3000} for n in range(100)]
    assert writer.post("/api/v1/projects/many/commits", json={"changes": changes}).status_code == 201
    reader.get("/api/v1/projects/many/tree")
    before = store.requests["get_ranges"] + store.requests["get"]
    asked = {"paths": [{"path": f"f{n}"} for n in range(100)]}
    found = reader.post("/api/v1/projects/many/read", json=asked).json()["items"]
    assert [item["text"] for item in found] == [f"{n} " * 3000 for n in range(100)]
    assert store.requests["get_ranges"] + store.requests["get"] - before <= 2
