"""Small bodies that take much: of memory, once they are parsed, or of time, for each fault in them."""

from __future__ import annotations

import json
import re
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from manifold_common import shapes
from manifold_common.errors import QuotaExceeded
from manifold_common.services.projects.edits import _at_or_below
from manifold_common.shapes.base import Request
from msgspec import inspect

from functions.api.json_bound import JsonBound
from tests.support.api import Api
from tests.support.memory import traced_memory

P = "/api/v1/projects/demo"


@pytest.fixture
def at(api: Api) -> Api:
    api.project()
    return api


@pytest.mark.parametrize(
    ("url", "body", "told"),
    [
        ("/restore", b'{"generation":0,"paths":[%b{}]}' % (b"{}," * 340_000), "more than 200000 values"),
        ("/restore", b'{"generation":0,"paths":[%b{}]}' % (b"{}," * 90_000), "length <= 10000|path_base64"),
        ("/restore", b'{"generation":0,"paths":[%b0]}' % (b"0," * 150_000), "paths\\[0\\]|length <= 10000"),
        ("/restore", b"{%b}" % b",".join(b'"%d":0' % number for number in range(30_000)), "no such field"),
        ("/restore", b"[" * 1_000_000, "values|not JSON|nested|expected"),
        ("/commits", b'{"changes":[%b{}]}' % (b"{}," * 99_000), "changes\\[0\\]"),
        ("/commits", b'{"changes":[{"op":"mkdir","path":"b","x":[%b0]}]}' % (b"{}," * 2_100_000), "2000000 values"),
    ],
    ids=["objects", "fewer", "numbers", "fields", "depth", "changes", "values"],
)
def test_a_body_is_refused_before_it_takes_much(at: Api, url: str, body: bytes, told: str) -> None:
    """1 MB of ``{}`` took 900 MiB and ten seconds; 60 MB of them, 2.2 GB and forty."""
    with traced_memory() as peak:
        answer = at.post(P + url, content=body, headers={"Content-Type": "application/json"})
        taken = peak()
    assert answer.status_code in (400, 413)
    assert len(answer.content) < 4000
    assert re.search(told, answer.text), answer.text[:400]
    assert taken < (48 << 20) + 5 * len(body)


def test_what_people_write_does_not_count_as_structure(at: Api) -> None:
    text = 'a "quoted", {braced}, [listed] \\ text,\n' * 60_000
    change = {"op": "put", "path": "a.json", "text": text}
    answer = at.post(f"{P}/commits", json={"changes": [change] * 3})
    assert answer.status_code == 201, answer.text[:300]
    assert at.get(f"{P}/files/a.json").text == text


@settings(max_examples=40, deadline=None)
@given(st.recursive(st.text('\\"{[,a\n', max_size=8) | st.integers(), st.lists, max_leaves=20), st.data())
def test_values_are_counted_alike_however_the_body_is_cut(value: Any, data: st.DataObject) -> None:
    body = json.dumps([value]).encode()

    def separators(item: Any) -> int:
        return 1 + max(0, len(item) - 1) + sum(map(separators, item)) if isinstance(item, list) else 0

    bound = JsonBound(separators([value]))
    at = 0
    while at < len(body):
        size = data.draw(st.integers(1, 6))
        bound.feed(body[at : at + size])
        at += size
    with pytest.raises(QuotaExceeded):
        bound.feed(b",")


def _request_shapes() -> list[type[Request]]:
    modules = (import_module(f"{shapes.__name__}.{module.name}") for module in iter_modules(shapes.__path__))
    found = {value for module in modules for value in vars(module).values() if isinstance(value, type)}
    return [value for value in found if issubclass(value, Request) and value is not Request]


def test_every_list_and_object_in_a_request_has_a_greatest_length() -> None:
    bounded = 0
    for shape in _request_shapes():
        for field in inspect.type_info(shape).fields:  # type: ignore[attr-defined]
            kinds = getattr(field.type, "types", (field.type,))
            for kind in (one.type if isinstance(one, inspect.Metadata) else one for one in kinds):
                if isinstance(kind, inspect.ListType | inspect.DictType):
                    bounded += 1
                    assert kind.max_length is not None, f"{shape.__name__}.{field.name}"
    assert bounded >= 10


@given(
    st.lists(st.sampled_from([b"a", b"a/b", b"a-b", b"ab", b"b", b"b/a/c", b"a/b/c", b"a\xff"]), max_size=4),
    st.sets(st.sampled_from([b"a", b"a/b", b"a-b", b"a/b/c", b"a-b/c", b"ab/c", b"b", b"b/a", b"b/a/c/d", b"a\xff/x"])),
)
def test_what_lies_below_many_folders_is_what_lies_below_one_of_them(folders: list[bytes], paths: set[bytes]) -> None:
    below = {path for path in paths if any(path == one or path.startswith(one + b"/") for one in folders)}
    assert _at_or_below(folders, paths) == below
