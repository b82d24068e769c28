"""Content of an upload that is stored already, and that is collected while the upload comes in."""

from __future__ import annotations

import os

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.errors import ContentCollected
from manifold_common.services.projects.edits import reading

from tests.support.garbage import collect
from tests.support.manifold import MakeManifold
from tests.support.resumable import begin, look, send
from tests.support.work import cat, new_project, put, remove

CONTENT = os.urandom(6_000_000)


@pytest.fixture
def manifold(make_manifold: MakeManifold) -> Manifold:
    return make_manifold()


def test_no_upload_is_committed_whose_content_was_collected_meanwhile(manifold: Manifold) -> None:
    project = new_project(manifold)
    put(manifold, project, b"there", CONTENT)
    at = begin(manifold, project, len(CONTENT))
    whole, collected = reading(CONTENT), []

    def read(into: memoryview) -> int:
        if not collected:
            remove(manifold, project, b"there")
            collected.append(collect(manifold, project, generations=1))
        return whole(into)

    with pytest.raises(ContentCollected):
        send(manifold, at, 0, read)
    offset = look(manifold, at).offset
    done = send(manifold, at, offset, CONTENT[offset:])
    assert done.outcome is not None and collected == [True]
    assert cat(manifold, project, b"big") == CONTENT
