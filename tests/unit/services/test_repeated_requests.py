"""A request that has a name is done once, however often it is made: its answer may have been lost."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.arguments import optional_request
from manifold_common.errors import InvalidInput
from manifold_common.ids import Generation, parse_request_id
from manifold_common.services.projects.edits import Delete, PutFile
from manifold_common.shapes.changes import Edited
from manifold_common.shapes.intent import Intent

from tests.support.manifold import MakeManifold
from tests.support.work import S1, cat, check_out, new_project, put, reader

ONCE = Intent(request=optional_request("r-1"))


def test_a_repeated_request_is_answered_like_the_first_and_changes_nothing(make_manifold: MakeManifold) -> None:
    manifold = make_manifold()
    project = new_project(manifold, a=b"one")
    first = manifold.edits.apply(LOCAL_PRINCIPAL, project, [PutFile(b"a", reader(b"two"))], ONCE)
    put(manifold, project, b"a", b"three")
    again = make_manifold(node="b").edits.apply(LOCAL_PRINCIPAL, project, [PutFile(b"a", reader(b"two"))], ONCE)
    assert again == first
    assert cat(manifold, project, b"a") == b"three"
    assert manifold.history.log(LOCAL_PRINCIPAL, project)[0].generation == 3


def test_a_repeated_request_is_no_mismatch_with_the_generation_it_made(make_manifold: MakeManifold) -> None:
    manifold = make_manifold()
    project = new_project(manifold, a=b"one")
    once = Intent(expected=Generation(1), request=optional_request("r-1"))
    first = manifold.edits.apply(LOCAL_PRINCIPAL, project, [Delete(b"a")], once)
    assert manifold.edits.apply(LOCAL_PRINCIPAL, project, [Delete(b"a")], once) == first


def test_a_repeated_restore_is_one_restore(make_manifold: MakeManifold) -> None:
    manifold = make_manifold()
    project = new_project(manifold, a=b"one")
    put(manifold, project, b"a", b"two")
    first = manifold.edits.restore(LOCAL_PRINCIPAL, project, Generation(1), intent=ONCE)
    put(manifold, project, b"a", b"three")
    assert manifold.edits.restore(LOCAL_PRINCIPAL, project, Generation(1), intent=ONCE) == first
    assert cat(manifold, project, b"a") == b"three"


def test_of_many_at_once_with_one_name_one_is_done_and_all_get_its_answer(make_manifold: MakeManifold) -> None:
    nodes = [make_manifold(node=name) for name in "abcd"]
    project = new_project(nodes[0], a=b"one")
    together = threading.Barrier(len(nodes))

    def ask(number: int) -> Edited:
        together.wait()
        edits = [PutFile(b"a", reader(b"from %d" % number))]
        return nodes[number].edits.apply(LOCAL_PRINCIPAL, project, edits, ONCE)

    with ThreadPoolExecutor(len(nodes)) as pool:
        answers = list(pool.map(ask, range(len(nodes))))
    assert {(answer.generation, answer.commit) for answer in answers} == {(2, answers[0].commit)}
    assert nodes[0].projects.get(LOCAL_PRINCIPAL, project).generation == 2


def test_a_session_commits_once_for_one_request(make_manifold: MakeManifold) -> None:
    manifold = make_manifold()
    project = new_project(manifold, a=b"one")
    work = check_out(manifold, project)
    (work / "b").write_bytes(b"new")
    request = Intent("say b", request=optional_request("r-1"))
    first = manifold.commits.commit(LOCAL_PRINCIPAL, S1, request)
    (work / "c").write_bytes(b"edited after the answer was lost")
    again = manifold.commits.commit(LOCAL_PRINCIPAL, S1, request)
    assert (again.generation, again.commit, again.added) == (first.generation, first.commit, 1)
    assert [d.path for d in manifold.sessions.status(LOCAL_PRINCIPAL, S1).differences] == [b"c"]


@pytest.mark.parametrize("text", ["", "a" * 129, "a b", "a\n", "ä"])
def test_what_cannot_name_a_request_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_request_id(text)
