"""What projects take: each stored object counts once, for what it is needed for."""

from __future__ import annotations

import os

import pytest
from manifold_common.adapters.memory.catalog import MemoryCatalog
from manifold_common.adapters.memory.clock import ManualClock
from manifold_common.adapters.memory.object_store import MemoryObjectStore
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.errors import ManifoldError, NotFound
from manifold_common.format.layout import project_prefix
from manifold_common.ids import Generation, ProjectId, TagName
from manifold_common.services.collection.condemned import Condemned
from manifold_common.services.collection.reach import Reach
from manifold_common.services.collection.tally import Collected, Tally
from manifold_common.shapes.usage import ProjectUsage, UsageTotal

from tests.support.garbage import TENANT, collect, collector
from tests.support.manifold import MakeManifold
from tests.support.work import S1, check_out, committed, new_project, put, remove

NOBODY = ProjectId("p" * 26)


@pytest.fixture
def manifold(make_manifold: MakeManifold) -> Manifold:
    return make_manifold()


def big(manifold: Manifold, project: ProjectId, path: bytes) -> int:
    """Commit a file that goes into a pack of its own; return the size of that."""
    before = sizes(manifold, project)
    put(manifold, project, path, os.urandom(2 << 20))
    added = [size for key, size in sizes(manifold, project).items() if key not in before and "/packs/" in key]
    assert len(added) == 1
    return added[0]


def sizes(manifold: Manifold, project: ProjectId) -> dict[str, int]:
    return {one.key: one.size for one in manifold.context.store.list(project_prefix(TENANT, project))}


def usage(manifold: Manifold, project: ProjectId) -> ProjectUsage:
    return manifold.usage.of(LOCAL_PRINCIPAL, project)


def measured(manifold: Manifold, project: ProjectId) -> tuple[int, int, int]:
    found = manifold.usage.measure(LOCAL_PRINCIPAL, project)
    assert found.live is not None and found.history is not None and found.unreferenced is not None
    assert found.measured_generation == found.generation
    whole = found.live.bytes + found.history.bytes + found.unreferenced.bytes + found.condemned.bytes
    assert whole == sum(sizes(manifold, project).values())
    count = found.live.objects + found.history.objects + found.unreferenced.objects + found.condemned.objects
    assert count == len(sizes(manifold, project))
    return found.live.bytes, found.history.bytes, found.unreferenced.bytes


def test_nothing_is_known_before_it_is_measured(manifold: Manifold) -> None:
    found = usage(manifold, new_project(manifold, a=b"x"))
    assert (found.measured_at, found.live, found.history, found.unreferenced) == (None, None, None, None)
    assert (found.condemned.objects, found.condemned.bytes) == (0, 0)
    with pytest.raises(NotFound):
        usage(manifold, NOBODY)
    with pytest.raises(NotFound):
        manifold.usage.measure(LOCAL_PRINCIPAL, NOBODY)


def test_what_the_newest_generation_needs_no_more_is_history(manifold: Manifold) -> None:
    project = new_project(manifold)
    gone, kept = big(manifold, project, b"gone"), big(manifold, project, b"kept")
    live, history, unreferenced = measured(manifold, project)
    assert live > gone + kept and (history, unreferenced) == (0, 0)
    remove(manifold, project, b"gone")
    after, history, unreferenced = measured(manifold, project)
    assert (history, unreferenced) == (gone, 0) and after > kept


def test_what_stands_between_checkpoints_is_history_too(manifold: Manifold) -> None:
    project = new_project(manifold)
    for number in range(5):
        put(manifold, project, b"a", b"%d" % number)
    assert measured(manifold, project)[1] == 0, "every commit since the first is read"
    snapshot = manifold.context.log.load(TENANT, project)
    manifold.context.catalog.add_checkpoint(TENANT, project, manifold.context.writer.write_checkpoint(snapshot))
    commits = {key: size for key, size in sizes(manifold, project).items() if "/commits/" in key}
    live, history, _ = measured(manifold, project)
    newest = max(commits)
    assert history == sum(size for key, size in commits.items() if key != newest)
    assert live == sum(sizes(manifold, project).values()) - history


def test_of_what_the_head_needs_nothing_is_missing_and_nothing_is_too_much(make_manifold: MakeManifold) -> None:
    clock = ManualClock()
    store, catalog = MemoryObjectStore(clock), MemoryCatalog(clock=clock)
    manifold = make_manifold(store=store, catalog=catalog, clock=clock)
    project = new_project(manifold, a=b"small", b=os.urandom(3 << 20))
    big(manifold, project, b"c")
    snapshot = manifold.context.log.load(TENANT, project)
    catalog.add_checkpoint(TENANT, project, manifold.context.writer.write_checkpoint(snapshot))
    remove(manifold, project, b"c")
    put(manifold, project, b"a", b"smaller")
    wanted = committed(manifold, project)
    needed = Reach(manifold.context).needed_by_head(catalog.holdings(TENANT, project))
    every = {one.key for one in store.list(project_prefix(TENANT, project))}
    assert needed < every
    for key in every - needed:
        store.delete([key])

    def read(node: str) -> object:
        return committed(make_manifold(node=node, store=store, catalog=catalog, clock=clock), project)

    assert read("fresh") == wanted
    unread = {key for key in needed if "/keys/" in key}  # the catalog has them, too
    for number, key in enumerate(sorted(needed - unread)):
        data = store.get(key, max_bytes=1 << 30)
        store.delete([key])
        with pytest.raises(ManifoldError):
            read(f"n{number}")
        store.put(key, data)
    assert len(needed - unread) >= 4


def test_a_draft_and_what_is_about_to_be_committed_are_told_apart(manifold: Manifold) -> None:
    project = new_project(manifold, x=b"1")
    work = check_out(manifold, project)
    (work / "a").write_bytes(os.urandom(3 << 20))
    assert manifold.commits.save(LOCAL_PRINCIPAL, S1).draft is not None
    assert measured(manifold, project)[1] > 3 << 20
    with manifold.context.pack_writer(manifold.context.log.load(TENANT, project)) as writer:
        writer.add(os.urandom(1 << 20))
        writer.finish(0)
    assert measured(manifold, project)[2] > 1 << 20
    manifold.sessions.close(LOCAL_PRINCIPAL, S1)
    live, history, unreferenced = measured(manifold, project)
    assert history == 0 < live and unreferenced > 1 << 20, "the draft is superseded, and has a time of its own to go"


def test_what_a_fork_needs_of_its_source_is_live_there(manifold: Manifold) -> None:
    source = new_project(manifold)
    size = big(manifold, source, b"a")
    fork = manifold.forks.fork(LOCAL_PRINCIPAL, source, "fork").id
    remove(manifold, source, b"a")
    assert measured(manifold, source)[:2][1] == 0
    assert measured(manifold, fork)[0] < size, "it counts once, where it is stored"
    manifold.projects.delete(LOCAL_PRINCIPAL, source)
    manifold.usage.measure(LOCAL_PRINCIPAL, fork)
    total = manifold.usage.of_user(LOCAL_PRINCIPAL)
    assert total.live.bytes > size and total.deleted_projects == 1
    assert total.history.bytes > 0, "what of the source only the source needs, which could be brought back"


def test_a_collection_notes_what_it_has_seen_and_what_is_condemned_is_told_as_it_is_now(manifold: Manifold) -> None:
    project = new_project(manifold)
    size = big(manifold, project, b"gone")
    remove(manifold, project, b"gone")
    tool = collector(manifold, generations=1)
    assert tool.collect(TENANT, project)
    found = usage(manifold, project)
    assert found.live is not None and found.history is not None and found.unreferenced is not None
    assert (found.history.bytes, found.unreferenced.objects) == (0, 0)
    assert found.condemned.bytes > size and found.condemned.objects >= 2
    whole = found.live.bytes + found.condemned.bytes
    assert whole == sum(sizes(manifold, project).values())
    Condemned(manifold.context, -60.0).sweep()
    assert usage(manifold, project).condemned.objects == 0
    assert usage(manifold, project).live == found.live
    assert measured(manifold, project) == (found.live.bytes, 0, 0)


def test_a_collection_that_has_nothing_to_do_leaves_what_is_noted(manifold: Manifold) -> None:
    project = new_project(manifold, a=b"x")
    collect(manifold, project)
    first = usage(manifold, project)
    assert first.measured_at is not None
    assert not collect(manifold, project)
    assert usage(manifold, project) == first


def test_sums_are_of_all_projects_and_deleted_ones_go_as_their_objects_do(manifold: Manifold) -> None:
    projects = [new_project(manifold, name, a=name.encode()) for name in ("one", "two")]
    new_project(manifold, "never measured")

    def whole(total: UsageTotal) -> int:
        return total.live.bytes + total.history.bytes + total.unreferenced.bytes + total.condemned.bytes

    for project in projects:
        manifold.usage.measure(LOCAL_PRINCIPAL, project)
    total = manifold.usage.of_user(LOCAL_PRINCIPAL)
    assert (total.projects, total.deleted_projects, total.unmeasured_projects) == (3, 0, 1)
    assert whole(total) == sum(sum(sizes(manifold, project).values()) for project in projects)
    assert total == manifold.usage.of_tenant(LOCAL_PRINCIPAL)
    assert [one.name for one in manifold.usage.page(LOCAL_PRINCIPAL)] == ["never measured", "one", "two"]
    manifold.projects.delete(LOCAL_PRINCIPAL, projects[0])
    assert whole(manifold.usage.of_user(LOCAL_PRINCIPAL)) == whole(total)


def test_caches_and_working_sets_are_those_of_this_machine(make_manifold: MakeManifold) -> None:
    here, there = make_manifold(node="a"), make_manifold(node="b")
    project, other = new_project(here, "demo", a=os.urandom(1 << 20)), new_project(here, "other", a=b"x")
    check_out(here, project)
    assert usage(here, project).ram_bytes >= 1 << 20 and usage(here, project).cache_bytes >= 1 << 20
    assert usage(there, project).ram_bytes == usage(there, project).cache_bytes == 0
    assert usage(here, other).ram_bytes == 0
    machine = here.usage.of_machine(LOCAL_PRINCIPAL)
    assert machine.ram_bytes == usage(here, project).ram_bytes
    assert machine.cache_bytes == usage(here, project).cache_bytes + usage(here, other).cache_bytes
    here.sessions.close(LOCAL_PRINCIPAL, S1)
    assert usage(here, project).ram_bytes == 0


def test_what_this_machine_has_is_told_whichever_mode_the_asking_process_is_in(make_manifold: MakeManifold) -> None:
    manifold = make_manifold()
    project = new_project(manifold, a=os.urandom(1 << 20))
    check_out(manifold, project)
    plain = make_manifold(PROJECTS_ENCRYPT="false", PROJECTS_WORKSPACE_MODE="legacy")
    found = usage(plain, project)
    assert found.cache_bytes >= 1 << 20 and found.ram_bytes >= 1 << 20
    assert (found.cache_bytes, found.ram_bytes) == (usage(manifold, project).cache_bytes, found.ram_bytes)
    machine = plain.usage.of_machine(LOCAL_PRINCIPAL)
    assert (machine.cache_bytes, machine.ram_bytes) == (found.cache_bytes, found.ram_bytes)


def test_what_was_collected_is_counted_once(manifold: Manifold) -> None:
    project = new_project(manifold)
    size = big(manifold, project, b"gone")
    manifold.tags.set(LOCAL_PRINCIPAL, project, TagName("v1"), Generation(1))
    put(manifold, project, b"x", b"1")
    remove(manifold, project, b"gone")
    tool, tally = collector(manifold, generations=1), Tally()
    tool._tally = tally
    tool.collect(TENANT, project)
    assert tally.take().removed_generations == 1, "a tag holds the first"
    manifold.tags.remove(LOCAL_PRINCIPAL, project, TagName("v1"))
    tool.collect(TENANT, project)
    done = tally.take()
    assert done.removed_generations == 1 and done.condemned_bytes > size and done.removed_objects == 0
    waiting = manifold.context.catalog.garbage_waiting()
    Condemned(manifold.context, -60.0, tally).sweep()
    assert tally.take() == Collected(removed_objects=waiting.objects, removed_bytes=waiting.bytes)
    assert tally.take() == Collected()
