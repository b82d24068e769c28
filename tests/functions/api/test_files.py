from __future__ import annotations

import base64
import random

import pytest

from tests.support.api import Api

FILES = "/api/v1/projects/demo/files"


@pytest.fixture(autouse=True)
def _project(api: Api) -> None:
    api.project()


def test_a_file_comes_back_as_it_was_sent(api: Api) -> None:
    content = random.Random(1).randbytes(3 << 20)
    put = api.put(f"{FILES}/data/big.bin", content=content, params={"message": "add data", "mode": "755"})
    assert put.status_code == 201
    assert put.json()["generation"] == 1
    assert [item["path"] for item in put.json()["paths"]] == ["data", "data/big.bin"]
    got = api.get(f"{FILES}/data/big.bin")
    assert got.content == content
    assert got.headers["content-length"] == str(len(content))
    assert got.headers["manifold-generation"] == "1"
    assert got.headers["manifold-mode"] == "755"
    assert api.get("/api/v1/projects/demo/commits/1").json()["message"] == "add data"


def test_an_empty_file_is_a_file(api: Api) -> None:
    api.put(f"{FILES}/empty", content=b"")
    got = api.get(f"{FILES}/empty")
    assert (got.status_code, got.content, got.headers["content-length"]) == (200, b"", "0")


def test_a_body_without_a_length_is_taken(api: Api) -> None:
    api.put(f"{FILES}/chunked", content=(piece for piece in [b"one ", b"two ", b"three"]))
    assert api.get(f"{FILES}/chunked").content == b"one two three"


def test_an_older_generation_can_be_read(api: Api) -> None:
    api.put(f"{FILES}/a", content=b"old")
    api.put(f"{FILES}/a", content=b"new")
    assert api.get(f"{FILES}/a", params={"generation": 1}).content == b"old"
    assert api.get(f"{FILES}/a", params={"generation": 0}).status_code == 404
    assert api.get(f"{FILES}/a", params={"generation": 3}).status_code == 404


def test_replacing_a_file_keeps_its_mode(api: Api) -> None:
    api.put(f"{FILES}/run.sh", content=b"#!", params={"mode": "755"})
    api.put(f"{FILES}/run.sh", content=b"#!/bin/sh")
    assert api.head(f"{FILES}/run.sh").headers["manifold-mode"] == "755"


def test_post_makes_a_file_but_never_replaces_one(api: Api) -> None:
    assert api.post(f"{FILES}/a", content=b"one").status_code == 201
    answer = api.post(f"{FILES}/a", content=b"two")
    assert (answer.status_code, answer.json()["code"]) == (409, "already_exists")
    assert api.get(f"{FILES}/a").content == b"one"


def test_if_none_match_star_makes_put_do_the_same(api: Api) -> None:
    headers = {"If-None-Match": "*"}
    assert api.put(f"{FILES}/a", content=b"one", headers=headers).status_code == 201
    assert api.put(f"{FILES}/a", content=b"two", headers=headers).status_code == 412
    assert api.get(f"{FILES}/a").content == b"one"


def test_head_says_what_get_would_and_sends_nothing(api: Api) -> None:
    api.put(f"{FILES}/a.txt", content=b"hello")
    head, get = api.head(f"{FILES}/a.txt"), api.get(f"{FILES}/a.txt")
    assert head.content == b""
    differing = {"date", "server", "x-correlation-id", "x-request-id"}
    assert {k: v for k, v in head.headers.items() if k not in differing} == {
        k: v for k, v in get.headers.items() if k not in differing
    }


def test_a_file_that_is_not_there_is_not_found(api: Api) -> None:
    for method in ("GET", "HEAD", "DELETE"):
        assert api.request(method, f"{FILES}/nothing").status_code == 404


def test_a_folder_is_not_a_file(api: Api) -> None:
    api.put(f"{FILES}/folder/a", content=b"x")
    answer = api.get(f"{FILES}/folder")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
    assert api.put(f"{FILES}/folder", content=b"x").status_code == 400
    assert api.put(f"{FILES}/folder/a/b", content=b"x").status_code == 400


def test_delete_removes_a_file_and_a_folder_only_when_told_so(api: Api) -> None:
    api.put(f"{FILES}/folder/a", content=b"x")
    assert api.delete(f"{FILES}/folder").status_code == 400
    assert api.delete(f"{FILES}/folder", params={"recursive": True}).json()["paths_total"] == 2
    assert api.get("/api/v1/projects/demo/tree").json()["items"] == []


# --- ranges -----------------------------------------------------------------------------------------------------

CONTENT = bytes(range(256)) * 8192  # two chunks


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-", 0, len(CONTENT)),
        ("bytes=100-199", 100, 200),
        ("bytes=1048570-1048590", 1048570, 1048591),
        ("bytes=-5", len(CONTENT) - 5, len(CONTENT)),
        ("bytes=-99999999", 0, len(CONTENT)),
        ("bytes=2097151-99999999", 2097151, len(CONTENT)),
        ("BYTES = 3 - 4", 3, 5),
        (f"bytes={'0' * 20}7-{'9' * 20}", 7, len(CONTENT)),
    ],
)
def test_one_range_gets_those_bytes(api: Api, header: str, start: int, end: int) -> None:
    api.put(f"{FILES}/a", content=CONTENT)
    got = api.get(f"{FILES}/a", headers={"Range": header})
    assert got.status_code == 206
    assert got.content == CONTENT[start:end]
    assert got.headers["content-range"] == f"bytes {start}-{end - 1}/{len(CONTENT)}"


@pytest.mark.parametrize(
    "header", ["bytes=0-1,5-6", f"bytes=5-{'0' * 5000}1", "lines=1-2", "bytes=5-1", "bytes=x-y", "bytes=-", "rubbish"]
)
def test_what_is_not_one_range_gets_the_whole_file(api: Api, header: str) -> None:
    api.put(f"{FILES}/a", content=b"0123456789")
    got = api.get(f"{FILES}/a", headers={"Range": header})
    assert (got.status_code, got.content) == (200, b"0123456789")


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-20", "bytes=-0", f"bytes={10**19}-", f"bytes={'9' * 5000}-"])
def test_a_range_outside_the_file_is_refused_with_its_size(api: Api, header: str) -> None:
    api.put(f"{FILES}/a", content=b"0123456789")
    got = api.get(f"{FILES}/a", headers={"Range": header})
    assert (got.status_code, got.json()["code"]) == (416, "unsatisfiable_range")
    assert got.headers["content-range"] == "bytes */10"


def test_a_header_of_one_value_that_comes_twice_is_not_read_by_its_first_line(api: Api) -> None:
    api.put(f"{FILES}/a", content=b"0123456789")
    etag = api.head(f"{FILES}/a").headers["etag"]
    for headers in (
        [("Range", "bytes=0-1"), ("Range", "bytes=5-6")],
        [("Range", "bytes=0-1"), ("If-Range", etag), ("If-Range", '"other"')],
    ):
        got = api.get(f"{FILES}/a", headers=headers)
        assert (got.status_code, got.content) == (200, b"0123456789")


def test_if_range_asks_for_the_rest_only_of_the_same_file(api: Api) -> None:
    api.put(f"{FILES}/a", content=b"0123456789")
    etag = api.head(f"{FILES}/a").headers["etag"]
    same = api.get(f"{FILES}/a", headers={"Range": "bytes=5-", "If-Range": etag})
    assert (same.status_code, same.content) == (206, b"56789")
    api.put(f"{FILES}/a", content=b"abcdefghij")
    changed = api.get(f"{FILES}/a", headers={"Range": "bytes=5-", "If-Range": etag})
    assert (changed.status_code, changed.content) == (200, b"abcdefghij")


# --- conditions -------------------------------------------------------------------------------------------------


def test_a_version_that_the_client_has_is_not_sent_again(api: Api) -> None:
    api.put(f"{FILES}/a", content=b"same")
    etag = api.get(f"{FILES}/a").headers["etag"]
    got = api.get(f"{FILES}/a", headers={"If-None-Match": f'"other", W/{etag}'})
    assert (got.status_code, got.content) == (304, b"")
    api.put(f"{FILES}/b", content=b"same")
    assert api.get(f"{FILES}/a", headers={"If-None-Match": etag}).status_code == 304  # another file changed
    api.put(f"{FILES}/a", content=b"other")
    assert api.get(f"{FILES}/a", headers={"If-None-Match": etag}).status_code == 200


def test_a_write_with_an_old_generation_changes_nothing(api: Api) -> None:
    api.put(f"{FILES}/a", content=b"1")
    api.put(f"{FILES}/a", content=b"2")
    answer = api.put(f"{FILES}/a", content=b"3", headers={"If-Match": '"1"'})
    assert answer.status_code == 412
    assert answer.json()["code"] == "generation_mismatch"
    assert answer.json()["details"] == {"expected": 1, "head_generation": 2}
    assert api.get(f"{FILES}/a").content == b"2"
    assert api.put(f"{FILES}/a", content=b"3", headers={"If-Match": '"2"'}).json()["generation"] == 3
    assert api.delete(f"{FILES}/a", headers={"If-Match": '"2"'}).status_code == 412


def test_a_files_own_etag_guards_it_too(api: Api) -> None:
    api.put(f"{FILES}/a", content=b"1")
    etag = api.get(f"{FILES}/a").headers["etag"]
    assert api.put(f"{FILES}/a", content=b"2", headers={"If-Match": etag}).status_code == 200
    assert api.put(f"{FILES}/a", content=b"3", headers={"If-Match": etag}).status_code == 412
    assert api.put(f"{FILES}/new", content=b"3", headers={"If-Match": etag}).status_code == 412
    assert api.get(f"{FILES}/a").content == b"2"


# --- what browsers make of it -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("page.html", "text/plain; charset=utf-8"),
        ("picture.svg", "text/plain; charset=utf-8"),
        ("script.js", "text/plain; charset=utf-8"),
        ("main.py", "text/plain; charset=utf-8"),
        ("photo.png", "application/octet-stream"),
        ("paper.pdf", "application/octet-stream"),
        ("unknown", "application/octet-stream"),
        ("x.xhtml", "application/octet-stream"),
    ],
)
def test_no_file_is_served_as_something_a_browser_runs(api: Api, name: str, kind: str) -> None:
    api.put(f"{FILES}/{name}", content=b"<script>alert(1)</script>")
    got = api.get(f"{FILES}/{name}")
    assert got.headers["content-type"] == kind
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["content-disposition"].startswith("attachment;")
    assert "sandbox" in got.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("encoded", "plain", "extended"),
    [
        ("caf%C3%A9.txt", "caf_.txt", "caf%C3%A9.txt"),
        ("a%22%0D%0Ab", "a___b", "a%22%0D%0Ab"),
        ("%FF%FE", "__", "%FF%FE"),
        ("a%3Bb%5Cc", "a_b_c", "a%3Bb%5Cc"),
    ],
)
def test_a_downloads_name_cannot_leave_its_header(api: Api, encoded: str, plain: str, extended: str) -> None:
    assert api.raw("PUT", f"{FILES}/{encoded}", body=b"x").status == 201
    got = api.raw("GET", f"{FILES}/{encoded}")
    assert got.headers["content-disposition"] == f"attachment; filename=\"{plain}\"; filename*=UTF-8''{extended}"


# --- names ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [b"\xff\xfe", b"new\nline", b"tab\tand space ", b"100%", b"?#&=+", b"\\..\\x", b"-rf"])
def test_a_name_may_hold_any_bytes(api: Api, name: bytes) -> None:
    encoded = "".join(f"%{byte:02X}" for byte in name)
    put = api.raw("PUT", f"{FILES}/dir/{encoded}", body=b"content")
    assert put.status == 201, put.body
    assert api.raw("GET", f"{FILES}/dir/{encoded}").body == b"content"
    entry = api.get("/api/v1/projects/demo/tree/dir").json()["items"][0]
    exact = base64.b64decode(entry["path_base64"]) if "path_base64" in entry else entry["path"].encode()
    assert exact == b"dir/" + name


def test_names_that_read_alike_stay_apart(api: Api) -> None:
    for encoded in ("%FF", "%5CxFF", "%5Cxff", "a", "A"):
        api.raw("PUT", f"{FILES}/{encoded}", body=encoded.encode())
    for encoded in ("%FF", "%5CxFF", "%5Cxff", "a", "A"):
        assert api.raw("GET", f"{FILES}/{encoded}").body == encoded.encode()
