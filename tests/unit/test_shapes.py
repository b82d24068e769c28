"""Shapes: what does not fit is refused with its place and without its content, and paths survive the way."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from manifold_common.errors import InvalidInput
from manifold_common.shapes import changes, history, projects
from manifold_common.shapes.decode import Reading
from manifold_common.shapes.path import LISTED_PATHS, Place, TreePath, listed

READING = Reading("the request", "see its shape")
COMMIT = msgspec.json.Decoder(changes.NewCommit)
PLACE = msgspec.json.Decoder(Place)
TREE_PATH = msgspec.json.Decoder(TreePath)
PROJECT = msgspec.json.Decoder(projects.Project)
SECRET = "hunter2"


@pytest.mark.parametrize(
    ("body", "field", "told"),
    [
        (b'{"changes": [{"op": "mkdir", "path": "a"}, {"op": "put", "path": "hunter2"}]}', "changes[1]", "either text"),
        (b'{"changes": [{"op": "hunter2"}]}', "changes[0].op", "none of the values"),
        (b'{"changes": [{"op": "put", "path": 5}]}', "changes[0].path", "expected `str | null`"),
        (b'{"changes": [], "message": ""}', "changes", "length >= 1"),
        (b'{"hunter2 x": 1}', "(a name that no field has)", "no such field"),
        (b'{"message": "hunter2"}', "changes", "it is missing"),
        (b'{"changes": [{"op": "put", "path":"a","content_base64": "hunter2"}]}', "changes[0].content_base64", "64"),
        (b'{"changes": [{"op": "put", "path": "a", "text": "hunter2\\udc00"}]}', "changes[0].text", "not Unicode"),
        (b'{"changes": [{"op": "put", "path": "a", "hunter2\\ud800": 1}]}', "changes[0]", "not Unicode"),
        (b'{"changes": [{"op": "mkdir", "path": "a"}], "provenance": {"hunter2": 1e999}}', "provenance[...]", "range"),
        (b'{"changes": [{"op": "mkdir", "path": "a"}], "provenance": {"a": NaN}}', "", "not JSON"),
        (b'{"changes": [{"op": "mkdir", "path": "a"}], "mode": "hunter2"}', "mode", "no such field"),
        (b'{"changes":' + b"[" * 100_000, "", "not JSON"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_its_place_and_not_its_content(body: bytes, field: str, told: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        READING.json(COMMIT, body)
    assert caught.value.details["field"] == field
    assert told in caught.value.message
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("depth", range(800, 1000, 10))
def test_text_that_is_none_is_refused_at_any_depth(depth: int) -> None:
    body = b'{"provenance": {"a":' + b"[" * depth + b'"hunter2\\ud800"' + b"]" * depth + b"}}"
    with pytest.raises(InvalidInput, match=r"not Unicode|is not JSON"):
        READING.json(COMMIT, body)


def test_parsed_json_is_read_like_its_bytes() -> None:
    assert READING.value(Place, {"path_base64": "Yf8="}).exact == b"a\xff"
    for value in ({"path": "a\udc00"}, {"path": "a", "\udc00": 1}):
        with pytest.raises(InvalidInput, match="not Unicode"):
            READING.value(Place, value)


@given(st.binary(min_size=1, max_size=40).filter(lambda path: b"\0" not in path and b"/" not in path and path != b".."))
def test_a_path_survives_every_way_that_json_takes_it(path: bytes) -> None:
    if path == b".":
        return
    told = TREE_PATH.decode(msgspec.json.encode(TreePath.of(path)))
    assert told.exact == path
    assert PLACE.decode(msgspec.json.encode(Place.of(path))).exact == path
    assert PLACE.decode(msgspec.json.encode(told)).exact == path, "an answer's path may be sent as it is"


@pytest.mark.parametrize(
    "place", [{}, {"path": "a", "path_base64": base64.b64encode(b"b").decode()}, {"path_base64": "?"}]
)
def test_a_place_that_is_none_or_two_is_refused(place: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        READING.value(Place, place)


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../b", "a\0b", "x" * 5000])
def test_a_path_that_leads_elsewhere_is_no_answer(path: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        TREE_PATH.decode(msgspec.json.encode({"path": path}))


def test_an_answer_may_have_fields_of_a_newer_server_and_no_strange_values() -> None:
    now = datetime.now(UTC)
    facts = {
        "id": "a" * 26, "name": "demo", "owner": "local", "generation": 1, "skills_generation": 0, "commit": "a" * 26,
        "total_bytes": 1, "entries": 1, "created_at": now, "updated_at": now, "encryption": "encrypted", "new": 1,
    }  # fmt: skip
    assert PROJECT.decode(msgspec.json.encode(facts)).point.commit == "a" * 26
    for wrong in ({"id": "../x"}, {"name": "a/b"}, {"generation": -1}, {"updated_at": "9999-01-01T00:00:00Z"},
                  {"entries": 1 << 60}, {"encryption": "maybe"}):  # fmt: skip
        with pytest.raises(msgspec.ValidationError):
            PROJECT.decode(msgspec.json.encode(facts | wrong))


def test_a_long_list_is_cut_by_number_and_by_bytes() -> None:
    assert len(listed([b"a"] * 5000)) == LISTED_PATHS
    assert len(listed([b"/".join([b"a" * 250] * 16)] * 500)) == 32


def test_the_kinds_of_difference_are_told_apart() -> None:
    from manifold_common.domain.tree import FILE, SYMLINK, Difference, Entry

    file = Entry(FILE, 0o644, 1, 1, b"c" * 32)
    for after, kind in (
        (file._replace(content=b"d" * 32), history.ChangeKind.MODIFIED),
        (file._replace(mode=0o755), history.ChangeKind.MODE),
        (file._replace(mtime_ns=2), history.ChangeKind.TIME),
        (Entry(SYMLINK, 0o777, 1, 0, b"a\xff"), history.ChangeKind.KIND),
        (None, history.ChangeKind.DELETED),
    ):
        assert history.TreeDifference.between(Difference(b"a", file, after)).change is kind
