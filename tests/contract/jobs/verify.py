from __future__ import annotations

from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.ports.catalog import FoundDamage

from tests.contract.jobs.scene import Base, Scene
from tests.support.work import new_project, put


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
