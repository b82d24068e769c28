"""What may be called what, and how much there may be of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from manifold_common.domain.event import DEFAULT_LISTED_PATHS, MAX_LISTED_BYTES, commit_event
from manifold_common.domain.object_key import check_folder, check_object_key, is_object_key
from manifold_common.domain.project_name import NAME_PATTERN, check_project_name
from manifold_common.domain.quota import UNLIMITED, Limits
from manifold_common.domain.skill import touches_skills
from manifold_common.errors import InvalidInput, QuotaExceeded
from manifold_common.format.layout import checkpoint_key, commit_key, note_key, pack_key, wrapped_key_key
from manifold_common.ids import (
    PLAIN,
    CommitId,
    Generation,
    ObjectId,
    ProjectId,
    SessionId,
    TenantId,
    UserId,
    encode_id,
    parse_tenant_id,
)

SLUGS = st.from_regex(r"[a-z0-9]([a-z0-9._@-]{0,62}[a-z0-9])?\Z", fullmatch=True).filter(lambda text: ".." not in text)
IDS = st.binary(min_size=16, max_size=16).map(encode_id)


@given(SLUGS.map(parse_tenant_id), IDS, IDS, st.integers(1, 10**12 - 1))
def test_every_key_of_the_format_may_name_an_object(tenant: TenantId, project: str, other: str, number: int) -> None:
    where, generation = ProjectId(project), Generation(number)
    keys = [
        pack_key(tenant, where, ObjectId(other)),
        commit_key(tenant, where, generation, CommitId(other)),
        checkpoint_key(tenant, where, generation, CommitId(other)),
        wrapped_key_key(tenant, where, PLAIN),
        note_key(tenant, where, other),
    ]
    assert all(map(is_object_key, keys))
    assert len(set(keys)) == len(keys)


def test_commit_keys_sort_by_generation() -> None:
    generations = [1, 9, 10, 99, 1000, 10**12 - 1]
    tenant, project, commit = TenantId("t"), ProjectId("p"), CommitId("c")
    keys = [commit_key(tenant, project, Generation(number), commit) for number in generations]
    assert keys == sorted(keys)


@pytest.mark.parametrize("key", ["a", "a/b", "a.b_c@d=e+f-g/H", "...", "a" * 250, "/".join(["ab"] * 266)])
def test_a_plain_relative_key_names_an_object(key: str) -> None:
    assert check_object_key(key) == key


BAD_KEYS = [
    "",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "a/..",
    "../a",
    "a/./b",
    "a\0",
    "a\n",
    "a b",
    "a~",
    "\u00e9",
    "a\\b",
    "a:b",
]


@pytest.mark.parametrize("key", [*BAD_KEYS, "a" * 251, "ab/" * 267 + "a"])
def test_a_key_that_could_leave_its_store_names_none(key: str) -> None:
    assert not is_object_key(key)
    with pytest.raises(InvalidInput):
        check_object_key(key)


def test_a_folder_may_end_in_one_slash_and_may_be_the_whole_store() -> None:
    assert (check_folder("a/b/"), check_folder("a/b"), check_folder("")) == ("a/b", "a/b", "")
    for folder in ("/", "a//", "../"):
        with pytest.raises(InvalidInput):
            check_folder(folder)


@pytest.mark.parametrize(
    "name", ["a", "My project", "\u00e9t\u00e9 \u2013 v1.0 (copy)", "\U0001f600", "x" * 200, "a..b"]
)
def test_a_project_may_have_a_name_that_people_give(name: str) -> None:
    check_project_name(name)
    assert re.search(NAME_PATTERN, name)


@given(st.text(max_size=10))
@example(".git")
@example("a\x7fb")
@example("\u3000a")
def test_what_the_pattern_of_names_leaves_out_is_refused(name: str) -> None:
    """So that clients which go by the description of the API refuse nobody's name."""
    if not re.search(NAME_PATTERN, name):
        with pytest.raises(InvalidInput):
            check_project_name(name)


BAD_NAMES = ["", " ", " a", "a ", "a/b", "a\\b", ".", "..", ".git", "a\0b", "a\nb", "a\u202eb", "\u200b", "\ud800"]


@pytest.mark.parametrize("name", [*BAD_NAMES, "x" * 201, "\u00e9" * 101, "a\u2028b"])
def test_a_name_that_hides_something_or_looks_like_a_path_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_project_name(name)
    assert caught.value.hint


LIMITS = Limits(max_project_bytes=100, max_files=10, max_file_bytes=50, max_session_ram_bytes=70)


@pytest.mark.parametrize(
    ("at", "over", "limit"),
    [
        (lambda who: who.check_file("f", 50), lambda who: who.check_file("f", 51), 50),
        (lambda who: who.check_project(100, 10), lambda who: who.check_project(101, 10), 100),
        (lambda who: who.check_project(100, 10), lambda who: who.check_project(100, 11), 10),
        (lambda who: who.check_session(70), lambda who: who.check_session(71), 70),
    ],
)
def test_a_quota_holds_to_the_byte_and_zero_means_none(
    at: Callable[[Limits], None], over: Callable[[Limits], None], limit: int
) -> None:
    at(LIMITS)
    with pytest.raises(QuotaExceeded) as caught:
        over(LIMITS)
    assert caught.value.details["limit"] == limit
    assert caught.value.hint
    over(UNLIMITED)


@pytest.mark.parametrize(
    ("path", "touches"),
    [
        (b".skills", True),
        (b".skills/a/SKILL.md", True),
        (b".manifold/skills/x", True),
        (b".agents/skills", True),
        (b".skills2/x", False),
        (b".skillsx", False),
        (b"a/.skills/x", False),
        (b".manifold/other", False),
        (b".agents", False),
        (b"", False),
    ],
)
def test_only_paths_in_a_skills_folder_touch_skills(path: bytes, touches: bool) -> None:
    assert touches_skills([b"README.md", path]) is touches


def event_of(paths: set[bytes], listed_paths: int | None) -> dict[str, object]:
    return commit_event(
        TenantId("t"),
        ProjectId("p"),
        UserId("u"),
        SessionId("s"),
        Generation(2),
        Generation(1),
        CommitId("c"),
        paths,
        datetime(2026, 1, 1, tzinfo=UTC),
        listed_paths=listed_paths,
    )


@pytest.mark.parametrize("count", [0, 1, DEFAULT_LISTED_PATHS, DEFAULT_LISTED_PATHS + 1])
def test_an_event_names_paths_in_order_up_to_a_limit_or_not_at_all(count: int) -> None:
    paths = {b"%05d" % number for number in range(count)}
    named, silent = event_of(paths, DEFAULT_LISTED_PATHS), event_of(paths, None)
    assert named["changed_count"] == silent["changed_count"] == count
    assert named["changed_paths"] == [path.decode() for path in sorted(paths)][:DEFAULT_LISTED_PATHS]
    assert silent["changed_paths"] is None


def test_the_paths_in_an_event_fit_into_a_message_whatever_they_are() -> None:
    paths = {b"%04d" % number + b"\xff" * 4000 for number in range(1000)}
    event = event_of(paths, 1000)
    assert event["changed_count"] == 1000
    listed = event["changed_paths"]
    assert isinstance(listed, list)
    assert len(listed) == MAX_LISTED_BYTES // (4 + 4 * 4000)
    assert len(json.dumps(event)) < 2 * MAX_LISTED_BYTES + 1000
