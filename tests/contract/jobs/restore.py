from __future__ import annotations

from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.ids import Generation

from tests.contract.jobs.scene import Base, Scene
from tests.support.work import cat, new_project, put


def scene(base: Base) -> Scene:
    manifold = base.make()
    project = new_project(manifold, "project", a=b"one")
    put(manifold, project, b"a", b"two")
    job = manifold.deferred.restore(LOCAL_PRINCIPAL, project, Generation(1))
    manifold.jobs.cancel(LOCAL_PRINCIPAL, job.id)  # whoever looks starts one that is asked for the same

    def is_done() -> bool:
        fresh = base.make()
        head = fresh.projects.get(LOCAL_PRINCIPAL, project).generation
        assert head in (2, 3), "it was done once"
        return head == 3 and cat(fresh, project, b"a") == b"one"

    return Scene(manifold, 1, is_done, job.params)
