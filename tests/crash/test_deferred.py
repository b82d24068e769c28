"""The process dies at each step in which a request is accepted that a job is to do. Sent again under its name, it is
one job, which does it once; and what was kept for nothing goes when its time is over.

What happens to workers that die is held against every kind of job: tests/contract/test_job_kinds.py.
"""

from __future__ import annotations

import io
import itertools
import os
import tarfile
from typing import Literal

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.job import JobFilter, JobState
from manifold_common.domain.named_request import NamedRequest
from manifold_common.ids import Generation, ProjectId, parse_request_id
from manifold_common.services.archive import ArchiveFormat
from manifold_common.services.projects.edits import reading
from manifold_common.shapes.intent import Intent
from manifold_common.shapes.jobs import Job

from tests.contract.jobs.scene import Base
from tests.support.faulty_store import Crash, Fault
from tests.support.garbage import collect, objects
from tests.support.manifold import MakeManifold
from tests.support.work import new_project, put

pytestmark = pytest.mark.in_memory("cuts off what is asked of the catalog and the store")

KINDS = ["restore", "import", "archive"]
_DAYS = 8 * 86400.0


def tar() -> bytes:
    data, out = os.urandom(17 << 20), io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo("b")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


ARCHIVE = tar()


def ask(manifold: Manifold, project: ProjectId, kind: str) -> Job:
    request = NamedRequest(parse_request_id("order-17"), lambda: b"the same each time")
    deferred = manifold.deferred
    if kind == "restore":
        return deferred.restore(LOCAL_PRINCIPAL, project, Generation(1), intent=Intent(request=request))
    if kind == "import":
        return deferred.load(LOCAL_PRINCIPAL, project, reading(ARCHIVE), Intent(request=request))
    return deferred.archive(LOCAL_PRINCIPAL, project, ArchiveFormat.TAR, request=request)


@pytest.mark.parametrize("how", ["crash", "crash_after"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_dies_while_it_is_accepted_is_accepted_once_when_it_is_sent_again(
    make_manifold: MakeManifold, kind: str, how: Literal["crash", "crash_after"]
) -> None:
    for at in itertools.count(1):
        base = Base.new(make_manifold)
        project = new_project(base.make(), "project", a=b"one")
        put(base.make(), project, b"a", b"two")
        before = objects(base.make(), project)
        dying = base.make()
        base.store.plan(Fault(how, at=at))
        try:
            ask(dying, project, kind)
        except Crash:
            is_killed = True
        else:
            is_killed = False
        base.store.revive()
        manifold = base.make()
        jobs = manifold.jobs.page(LOCAL_PRINCIPAL, JobFilter())
        assert len(jobs) <= 1, at
        job = ask(manifold, project, kind)
        assert [one.id for one in manifold.jobs.page(LOCAL_PRINCIPAL, JobFilter())] == [job.id], at
        assert not jobs or jobs[0].id == job.id, at
        manifold.job_worker.run(KINDS)
        assert manifold.jobs.get(LOCAL_PRINCIPAL, job.id).state is JobState.DONE, at
        head = manifold.projects.get(LOCAL_PRINCIPAL, project).generation
        assert head == (2 if kind == "archive" else 3), at
        base.clock.advance(_DAYS)
        manifold.resumable_uploads.sweep()
        assert manifold.context.catalog.holdings(LOCAL_PRINCIPAL.tenant, project).resumable == [], at
        collect(manifold, project)
        if kind == "archive":
            assert objects(manifold, project) == before, at
        if not is_killed:
            assert at > 3
            return
