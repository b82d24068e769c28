from __future__ import annotations

import os

from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.ids import Generation
from manifold_common.ports.catalog import FoundDamage

from tests.contract.jobs.scene import Base, Scene
from tests.support.damage import flip, objects_of, write_checkpoint
from tests.support.work import new_project, put, remove


def scene(base: Base) -> Scene:
    """Projects of which something is said to be damaged that is whole: a verification finds that out."""
    manifold, catalog = base.make(), base.make().context.catalog
    for number in range(3):
        project = new_project(manifold, f"project {number}", a=b"one")
        put(manifold, project, b"b", b"two")
        (commit, *_) = catalog.list_commits(LOCAL_PRINCIPAL.tenant, project)
        key = f"t/{LOCAL_PRINCIPAL.tenant}/p/{project}/commits/{commit.generation:012d}-{commit.commit}"
        catalog.note_damage(LOCAL_PRINCIPAL.tenant, project, [FoundDamage(key, "it was", commit.generation)])

    def is_done() -> bool:
        return base.make().context.catalog.count_damaged() == 0

    return Scene(manifold, 3, is_done, {"sample": 50})


def scene_repair(base: Base) -> Scene:
    """Projects with damage: of one, the cache has a copy of what is damaged; of the other, the content stands in
    another object."""
    manifold, content = base.make(), os.urandom(5000)
    copied, moved = (new_project(manifold, name, a=b"one") for name in ("copied", "moved"))
    put(manifold, moved, b"x", content)
    remove(manifold, moved, b"x")
    write_checkpoint(manifold, moved, Generation(3))
    manifold.context.log.forget(LOCAL_PRINCIPAL.tenant, moved)
    put(manifold, moved, b"y", content)
    (first,) = objects_of(manifold, copied, "commits")
    (second,) = (key for key in objects_of(manifold, moved, "commits") if f"/{2:012d}-" in key)
    manifold.context.objects._cache.drop(second)
    flip(manifold, first)
    flip(manifold, second, -100)

    def is_done() -> bool:
        verify = base.make().verify
        return all(verify.run(LOCAL_PRINCIPAL, project, read_data=True).ok for project in (copied, moved))

    return Scene(manifold, 2, is_done, {"read_data": True, "repair": True})
