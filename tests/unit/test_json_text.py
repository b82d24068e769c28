"""JSON that can be read in two ways is refused, whoever sends it."""

from __future__ import annotations

import json

import pytest
from manifold_common.shapes.json_text import fault_of

from functions.invocation.decode import MalformedEvent
from functions.invocation.http import direct_event
from tests.support.functions import sample


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b'{"a": 1, "b": 2, "a": 3}', "has 'a' twice in one object"),
        (b'{"x": [{"y": {"a": 1, "\\u0061": 1}}]}', "has 'a' twice in one object"),
        ('{"é": 1, "\\u00e9": 2}'.encode(), "has a name twice"),
        (b'{"": 1, "": 2}', "has a name twice"),
        (b'{"<b>": 1, "<b>": 2}', "has a name twice"),
        (b'{"a": "\xff"}', "is not UTF-8, at byte 7"),
        (b'{"a": "\xc0\xaf"}', "is not UTF-8, at byte 7"),
        (b'{"a": "\xed\xa0\x80"}', "is not UTF-8, at byte 7"),
        ('{"a": 1}'.encode("utf-16"), "is not UTF-8, at byte 0"),
        (b'\xef\xbb\xbf{"a": 1}', "is not JSON"),
        (b'{"a": "\\ud800"}', "holds text that is not Unicode"),
        (b'{"a": ["\\udc00\\ud800"]}', "holds text that is not Unicode"),
        (b'{"a": "\\\\\\ud800"}', "holds text that is not Unicode"),
        (b'{"a": NaN}', "is not JSON"),
        (b'{"a": -Infinity}', "is not JSON"),
        (b'{"a": 1} {"a": 1}', "is not JSON"),
        (b"9" * 5000, "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"", "is not JSON"),
    ],
)
def test_json_that_is_not_plainly_one_value_is_refused(text: bytes, fault: str) -> None:
    assert fault_of(text) == fault


@pytest.mark.parametrize(
    "text",
    [
        b'[{"a": 1}, {"a": 1}]',
        b'{"a": {"a": {"a": 1}}}',
        b'{"a": "\\ud83d\\ude00 \\\\ud800", "b": "\\"a\\": 1, \\"a\\": 2"}',
        '{"\\ufffd": "\ufffd"}'.encode(),
        b" 7\n",
    ],
)
def test_json_that_is_says_no_fault(text: bytes) -> None:
    assert fault_of(text) is None


def test_a_direct_event_over_http_is_as_strict() -> None:
    with pytest.raises(MalformedEvent, match="has 'project' twice in one object"):
        direct_event(sample("http-plan", body='{"project": "a", "project": "b"}', isBase64Encoded=False))
    with pytest.raises(MalformedEvent, match="rawQueryString: there are no parameters here"):
        direct_event(sample("http-plan", rawQueryString="project=demo"))


def test_names_are_looked_at_in_a_time_that_grows_with_the_text_alone() -> None:
    many = {f"name{number}": number for number in range(50_000)}
    assert fault_of(json.dumps(many).encode()) is None
    twice = json.dumps(many).encode()[:-1] + b', "name49999": 1}'
    assert fault_of(twice) == "has 'name49999' twice in one object"
