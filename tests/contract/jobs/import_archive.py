from __future__ import annotations

import io
import os
import tarfile

from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.services.projects.edits import reading

from tests.contract.jobs.scene import Base, Scene
from tests.support.work import cat, new_project, put


def scene(base: Base) -> Scene:
    manifold, data = base.make(), os.urandom(3 << 20)
    project = new_project(manifold, "project", a=b"one")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo("b")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    job = manifold.deferred.load(LOCAL_PRINCIPAL, project, reading(archive.getvalue()))
    manifold.jobs.cancel(LOCAL_PRINCIPAL, job.id)  # whoever looks starts one that is asked for the same
    put(manifold, project, b"a", b"two")

    def is_done() -> bool:
        fresh = base.make()
        head = fresh.projects.get(LOCAL_PRINCIPAL, project).generation
        assert head in (2, 3), "it was done once"
        return head == 3 and (cat(fresh, project, b"a"), cat(fresh, project, b"b")) == (b"two", data)

    return Scene(manifold, 1, is_done, job.params)
