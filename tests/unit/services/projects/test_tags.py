"""Tags as whoever sets them meets them: what is told, what is refused, and who may."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL, Principal
from manifold_common.domain.history import Point
from manifold_common.domain.named_request import NamedRequest
from manifold_common.domain.tag import Named, Wherever, parse_named
from manifold_common.errors import AlreadyExists, InvalidInput, NotFound, PreconditionFailed
from manifold_common.ids import CommitId, Generation, ProjectId, RequestId, TagName, TenantId, UserId
from manifold_common.ports.catalog import TagSet
from manifold_common.services.projects.edits import MakeFolder
from manifold_common.shapes.intent import Intent
from manifold_common.shapes.tags import Tag

from tests.support.manifold import MakeManifold
from tests.support.work import cat, new_project, paths, put

ME, OTHER = LOCAL_PRINCIPAL, Principal(TenantId("default"), UserId("somebody"))
NAME = TagName("release-1")


@pytest.fixture
def manifold(make_manifold: MakeManifold) -> Manifold:
    return make_manifold()


@pytest.fixture
def project(manifold: Manifold) -> ProjectId:
    project = new_project(manifold, a=b"one")
    put(manifold, project, b"a", b"two")
    put(manifold, project, b"a", b"three")
    return project


def at(manifold: Manifold, project: ProjectId, generation: int) -> Point:
    found = manifold.history.commit(ME, project, Generation(generation))
    return Point(found.generation, found.id)


def events(manifold: Manifold) -> list[tuple[str, object, object]]:
    found = [event.document for event in manifold.events.recent(limit=100)]
    return [
        (one["type"], one["data"].get("tag"), one["data"].get("generation")) for one in found if "tag" in one["data"]
    ]


def test_a_tag_is_set_moved_read_and_removed_and_each_is_an_event(manifold: Manifold, project: ProjectId) -> None:
    tags = manifold.tags
    made, is_new = tags.set(ME, project, NAME, Generation(1))
    assert is_new and made.point == at(manifold, project, 1)
    assert tags.get(ME, project, NAME) == made
    assert tags.set(ME, project, NAME, Generation(1)) == (made, False)
    moved, is_new = tags.set(ME, project, NAME, Generation(3), expected=made.point)
    assert not is_new and moved.point == at(manifold, project, 3)
    assert (moved.created_at, moved.user) == (made.created_at, ME.user)
    assert tags.all(ME, project) == tags.page(ME, project) == [moved]
    assert tags.remove(ME, project, NAME) == moved
    assert tags.all(ME, project) == []
    assert events(manifold) == [
        ("manifold.project.tagged", "release-1", 1),
        ("manifold.project.tagged", "release-1", 3),
        ("manifold.project.untagged", "release-1", 3),
    ]


def test_a_tag_can_be_set_to_where_another_is(manifold: Manifold, project: ProjectId) -> None:
    manifold.tags.set(ME, project, NAME, Generation(2))
    stable, _ = manifold.tags.set(ME, project, TagName("stable"), NAME)
    manifold.tags.remove(ME, project, NAME)
    assert manifold.tags.resolve(ME, project, TagName("stable")) == stable.generation == 2


def test_whoever_finds_it_elsewhere_is_told_where_and_how_to_move_it(manifold: Manifold, project: ProjectId) -> None:
    found, _ = manifold.tags.set(ME, project, NAME, Generation(2))
    with pytest.raises(AlreadyExists, match="at generation 2 already") as caught:
        manifold.tags.set(ME, project, NAME, Generation(3))
    assert "manifold tag PROJECT 3 release-1 --move" in caught.value.hint
    assert f'"{found.point}"' in caught.value.hint
    assert manifold.tags.get(ME, project, NAME) == found


@pytest.mark.parametrize("expected", [Point(Generation(1)), Point(Generation(2), CommitId("a" * 26))])
def test_what_is_not_where_it_was_seen_is_neither_moved_nor_removed(
    manifold: Manifold, project: ProjectId, expected: Point
) -> None:
    found, _ = manifold.tags.set(ME, project, NAME, Generation(2))
    with pytest.raises(PreconditionFailed, match="not where it was seen"):
        manifold.tags.set(ME, project, NAME, Generation(3), expected=expected)
    with pytest.raises(PreconditionFailed, match="not where it was seen"):
        manifold.tags.remove(ME, project, NAME, expected=expected)
    assert manifold.tags.get(ME, project, NAME) == found
    with pytest.raises(PreconditionFailed):
        manifold.tags.set(ME, project, TagName("absent"), Generation(3), expected=found.point)
    assert len(manifold.tags.all(ME, project)) == 1


def test_a_tag_that_is_moved_between_two_looks_is_not_said_to_be_anywhere(
    manifold: Manifold, project: ProjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    def elsewhere(*_: object, **__: object) -> TagSet | None:
        return None

    monkeypatch.setattr(manifold.context.catalog, "set_tag", elsewhere)
    with pytest.raises(PreconditionFailed):
        manifold.tags.set(ME, project, NAME, Generation(1))


def test_a_tag_that_is_to_be_changed_wherever_it_is_has_to_be_there(manifold: Manifold, project: ProjectId) -> None:
    with pytest.raises(PreconditionFailed):
        manifold.tags.set(ME, project, NAME, Generation(1), expected=Wherever.WHEREVER)
    with pytest.raises(PreconditionFailed):
        manifold.tags.remove(ME, project, NAME, expected=Wherever.WHEREVER)
    manifold.tags.set(ME, project, NAME, Generation(1))
    moved, is_new = manifold.tags.set(ME, project, NAME, Generation(2), expected=Wherever.WHEREVER)
    assert (moved.generation, is_new) == (2, False)
    assert manifold.tags.remove(ME, project, NAME, expected=Wherever.WHEREVER) == moved


def test_a_tag_that_others_move_over_and_over_is_not_waited_for_without_end(
    manifold: Manifold, project: ProjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifold.tags.set(ME, project, NAME, Generation(1))
    monkeypatch.setattr(manifold.context.catalog, "set_tag", lambda *_, **__: None)
    monkeypatch.setattr(manifold.context.catalog, "remove_tag", lambda *_, **__: False)
    with pytest.raises(PreconditionFailed):
        manifold.tags.set(ME, project, NAME, Generation(2), expected=Wherever.WHEREVER)
    with pytest.raises(PreconditionFailed):
        manifold.tags.remove(ME, project, NAME)


def test_a_name_that_is_not_there_is_told_with_those_that_may_be_meant(manifold: Manifold, project: ProjectId) -> None:
    for name in ("release-1", "stable"):
        manifold.tags.set(ME, project, TagName(name), Generation(1))
    for ask in (manifold.tags.get, manifold.tags.remove, manifold.tags.resolve):
        with pytest.raises(NotFound, match="has no tag 'releese-1'") as caught:
            ask(ME, project, TagName("releese-1"))
        assert "did you mean 'release-1'?" in caught.value.hint
    assert manifold.tags.find(ME, project, TagName("releese-1")) is None


@pytest.mark.parametrize("generation", [0, 4])
def test_a_generation_that_no_commit_made_has_no_tag(manifold: Manifold, project: ProjectId, generation: int) -> None:
    with pytest.raises(NotFound):
        manifold.tags.set(ME, project, NAME, Generation(generation))
    assert manifold.tags.all(ME, project) == []


@pytest.mark.parametrize("named", [-1, 2**60, True, 1.5, "7", "7-" + "a" * 26, "head", "Head", "a b", "", "x" * 65])
def test_what_names_no_generation_is_refused(manifold: Manifold, project: ProjectId, named: Named) -> None:
    with pytest.raises(InvalidInput):
        manifold.tags.set(ME, project, NAME, named)
    with pytest.raises(InvalidInput):
        manifold.edits.restore(ME, project, named)
    if isinstance(named, str):
        with pytest.raises(InvalidInput):
            manifold.tags.set(ME, project, TagName(named), Generation(1))
    assert manifold.tags.all(ME, project) == []


@pytest.mark.parametrize(
    ("text", "named"), [("0", 0), ("7", 7), (str(2**53 - 1), 2**53 - 1), ("v7", "v7"), ("a.b_c-D", "a.b_c-D")]
)
def test_a_text_names_a_generation_by_number_or_tag(text: str, named: Named) -> None:
    assert parse_named(text) == named


@pytest.mark.parametrize(
    "text", ["", "-1", "+7", "07", " 7", "7 ", "\u0667", "7.", str(2**53), "7-" + "a" * 26, "hEAD", "a/b"]
)
def test_any_other_text_names_none(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not a generation"):
        parse_named(text)


@pytest.mark.parametrize(
    "call",
    [
        lambda tags, project: tags.set(LOCAL_PRINCIPAL, project, 5, 1),
        lambda tags, project: tags.set(LOCAL_PRINCIPAL, project, "name", 1, expected=1),
        lambda tags, project: tags.get(LOCAL_PRINCIPAL, project, 5),
        lambda tags, project: tags.find(LOCAL_PRINCIPAL, project, b"name"),
        lambda tags, project: tags.remove(LOCAL_PRINCIPAL, project, "name", expected="1"),
        lambda tags, project: tags.page(LOCAL_PRINCIPAL, project, limit="x"),
        lambda tags, project: tags.page(LOCAL_PRINCIPAL, project, after_name=1),
        lambda tags, project: tags.resolve(LOCAL_PRINCIPAL, project, -1),
        lambda tags, project: tags.resolve(LOCAL_PRINCIPAL, project, 1.5),
        lambda tags, project: tags.resolve(LOCAL_PRINCIPAL, project, b"name"),
    ],
)
def test_what_is_no_argument_is_refused_before_anything_is_done(
    manifold: Manifold, project: ProjectId, call: Callable[[Any, ProjectId], object]
) -> None:
    with pytest.raises(InvalidInput):
        call(manifold.tags, project)
    assert manifold.tags.all(LOCAL_PRINCIPAL, project) == []


def test_a_project_of_somebody_else_has_no_tags_to_see_or_set(manifold: Manifold, project: ProjectId) -> None:
    found, _ = manifold.tags.set(ME, project, NAME, Generation(1))
    tags = manifold.tags
    for ask in (
        lambda: tags.all(OTHER, project),
        lambda: tags.page(OTHER, project),
        lambda: tags.find(OTHER, project, NAME),
        lambda: tags.resolve(OTHER, project, NAME),
        lambda: tags.set(OTHER, project, NAME, Generation(2), expected=found.point),
        lambda: tags.remove(OTHER, project, NAME),
    ):
        with pytest.raises(NotFound, match="there is no project"):
            ask()
    assert tags.all(ME, project) == [found]


def test_a_restore_takes_a_tag_and_one_that_is_sent_again_needs_it_no_more(
    manifold: Manifold, project: ProjectId
) -> None:
    manifold.tags.set(ME, project, NAME, Generation(1))
    intent = Intent(request=NamedRequest(RequestId("once")))
    done = manifold.edits.restore(ME, project, NAME, intent=intent)
    assert (done.generation, cat(manifold, project, b"a")) == (4, b"one")
    assert manifold.history.commit(ME, project, Generation(4)).message == "restore generation 1"
    manifold.tags.remove(ME, project, NAME)
    assert manifold.edits.restore(ME, project, NAME, intent=intent) == done
    with pytest.raises(NotFound, match="no tag"):
        manifold.edits.restore(ME, project, NAME)


def test_a_fork_of_a_tagged_project_has_its_own_names(manifold: Manifold, project: ProjectId) -> None:
    manifold.tags.set(ME, project, NAME, Generation(1))
    fork = manifold.forks.fork(ME, project, "fork", manifold.tags.resolve(ME, project, NAME)).id
    assert manifold.tags.all(ME, fork) == []
    manifold.edits.apply(ME, fork, [MakeFolder(b"own")])
    manifold.tags.set(ME, fork, NAME, Generation(2))
    assert manifold.tags.resolve(ME, project, NAME) == 1
    assert paths(manifold, fork, manifold.tags.resolve(ME, fork, NAME)) == {b"a", b"own"}


def test_no_server_can_have_a_tag_name_the_empty_project(manifold: Manifold, project: ProjectId) -> None:
    tag, _ = manifold.tags.set(LOCAL_PRINCIPAL, project, TagName("first"), Generation(1))
    told = msgspec.to_builtins(tag)
    assert msgspec.convert(told, Tag) == tag
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**told, "generation": 0}, Tag)
