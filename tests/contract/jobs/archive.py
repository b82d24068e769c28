from __future__ import annotations

import os

from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.errors import NotFound
from manifold_common.ids import Generation
from manifold_common.services.archive import ArchiveFormat

from tests.contract.jobs.scene import Base, Scene
from tests.support.work import new_project, put


def scene(base: Base) -> Scene:
    manifold = base.make()
    project = new_project(manifold, "project", a=os.urandom(17 << 20), b=b"one")
    wanted = b"".join(map(bytes, manifold.archives.export(LOCAL_PRINCIPAL, project, ArchiveFormat.TAR).read()))
    job = manifold.deferred.archive(LOCAL_PRINCIPAL, project, ArchiveFormat.TAR, Generation(1))
    manifold.jobs.cancel(LOCAL_PRINCIPAL, job.id)  # whoever looks starts one that is asked for the same
    put(manifold, project, b"b", b"two")

    def is_done() -> bool:
        try:
            made, content = base.make().deferred.content(LOCAL_PRINCIPAL, job.id)
        except NotFound:
            return False
        return made.total_bytes == len(wanted) and b"".join(map(bytes, content.read())) == wanted

    return Scene(manifold, 1, is_done, job.params)
