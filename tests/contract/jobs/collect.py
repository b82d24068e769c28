from __future__ import annotations

import os

from tests.contract.jobs.scene import Base, Scene
from tests.support.garbage import TENANT, objects
from tests.support.work import committed, new_project, put, remove

_DAYS = 2 * 86400.0


def scene(base: Base) -> Scene:
    manifold = base.make(PROJECTS_RETENTION_GENERATIONS="1")
    projects = []
    for number in range(3):
        project = new_project(manifold, f"project {number}")
        put(manifold, project, b"gone", os.urandom(2 << 20))
        put(manifold, project, b"kept", b"content")
        remove(manifold, project, b"gone")
        projects.append(project)
    base.clock.sleep(_DAYS)

    def is_done() -> bool:
        fresh = base.make()
        condemned = 0
        for project in projects:
            assert committed(fresh, project).keys() == {b"kept"}
            listed = fresh.context.catalog.holdings(TENANT, project).listed
            (pack,) = (one for one in objects(fresh, project) if one.startswith("packs/"))
            condemned += pack in listed
        return condemned == len(projects)

    return Scene(manifold, len(projects), is_done)
