"""Sequences in which something that is needed could go: of uploads, and of projects that end, come back, or begin to be
encrypted (collection_sequences.py)."""

from __future__ import annotations

from collections.abc import Callable

from manifold_common.errors import ContentCollected

from tests.properties.collection_sequences import NEW, Sequence, X, known_content, remove_unreferenced
from tests.support.garbage_model import Line, Session
from tests.support.garbage_nodes import PLAIN_NODE
from tests.support.garbage_world import World


def a_whole_file_of_known_content_is_sent(world: World) -> None:
    line = known_content(world)
    send = world.send("a", world.begin_upload("a", line, b"b", X), stops=True)
    send.go_to("find_request")  # it knows where the content is, and looks at the head after this
    world.delete("b", line, b"a")
    remove_unreferenced(world, line)
    world.finish(send)


def the_rest_of_a_file_of_known_content_is_sent(world: World) -> None:
    line = known_content(world)
    upload = world.begin_upload("a", line, b"b", X)
    world.send("b", upload, 0.5)
    send = world.send("a", upload, stops=True)
    send.go_to("find_request")
    world.delete("b", line, b"a")
    world.collect(line, 1)
    world.finish(send)
    world.send("b", upload)
    assert not upload.is_open and line.history[line.head] == {b"b": X}


def a_file_in_parts_waits(world: World) -> None:
    line = known_content(world)
    upload = world.begin_upload("a", line, b"b", NEW)
    world.send("a", upload, 0.5)
    remove_unreferenced(world, line)
    send = world.send("b", upload, stops=True)
    send.go_to("publish_commit")
    remove_unreferenced(world, line)
    world.finish(send)
    assert not upload.is_open


def a_client_stores_a_file_by_plan(world: World) -> None:
    line = known_content(world)
    for publish in (False, True):
        store = world.store_by_plan("a", line, b"b", NEW, publish=publish, stops=True)
        store.go_to("publish_commit" if publish else "save_draft")
        remove_unreferenced(world, line)
        world.finish(store)
    assert line.history[line.head] == {b"a": X, b"b": NEW}, store.error


def a_project_begins_to_be_encrypted(world: World) -> None:
    line = world.create(PLAIN_NODE)
    world.put(PLAIN_NODE, line, b"a", X)
    write = world.put("a", line, b"b", NEW, stops=True)
    write.go_to("begin_epoch")  # its key is stored, and nothing names it
    remove_unreferenced(world, line)
    world.finish(write)
    assert line.history[line.head] == {b"a": X, b"b": NEW}, write.error


def a_deleted_project_comes_back(world: World) -> None:
    line = known_content(world)
    session = world.open("a", line, 1)
    world.write(session, b"b", NEW)
    world.save(session)
    world.drop("b", line)
    remove_unreferenced(world, line)
    world.undelete("b", line)
    remove_unreferenced(world, line)


def a_fork_is_made_as_its_source_is_purged(world: World) -> None:
    line = known_content(world)
    first = world.fork("a", line, 1, stops=True)
    first.go_to("create_project")
    world.fork("a", line, 1)
    world.drop("b", line)
    world.purge()
    remove_unreferenced(world, line)
    world.finish(first)
    world.undelete("b", line)


def a_session_ends_with_changes(world: World) -> None:
    line = known_content(world)
    session = world.open("a", line, 1)
    world.write(session, b"b", NEW)
    world.delete("b", line, b"a")
    world.evict(session)
    remove_unreferenced(world, line)
    world.check_out(session, "b")
    assert session.files == {b"b": NEW}


def a_backup_is_declared(world: World) -> None:
    line = known_content(world)
    session = world.open("a", line, 1)
    world.write(session, b"b", NEW)
    world.save(session)
    world.declare()
    world.end(session, "a")
    world.delete("b", line, b"a")
    remove_unreferenced(world, line)
    world.check_nothing_needed_goes()


def a_backup_is_declared_of_work_that_a_client_has_saved(world: World) -> None:
    line = known_content(world)
    store = world.store_by_plan("a", line, b"b", NEW, publish=False, stops=True)
    store.go_to("forget_uploads")
    world.kill(store)  # it is the session's saved work, and the rows of its uploads are there still
    world.declare()
    (session,) = world.sessions
    world.end(session, "a")
    world.sweep_uploads()
    remove_unreferenced(world, line)
    world.check_nothing_needed_goes()


def a_repair_comes_between_search_and_suspicion(world: World) -> None:
    line = world.create()
    world.put_all("a", line, {b"a": X, b"b": NEW})
    world.fork("a", line, 1)
    world.delete("a", line, b"b")
    write = world.put("a", line, b"c", X, stops=True)
    write.go_to("publish_commit")
    slow = world.collect(line, 1, stops=True)
    slow.go_to("suspect", may_end=True)
    for which in range(4):
        world.repair("b", line, which)
    world.finish(slow)
    world.finish(write)


def _what_a_collector_is_about_to_read_goes(world: World, line: Line, others: Callable[[], object]) -> None:
    slow = world.collect(line, 2, stops=True)
    slow.go_to("list")  # it knows what the catalog names, and has read nothing of it
    others()
    remove_unreferenced(world, line)
    world.finish(slow)
    assert isinstance(slow.error, ContentCollected), slow.error


def _save(world: World, session: Session, data: bytes) -> None:
    world.write(session, b"b", data)
    world.save(session)


def a_generation_goes_that_a_collector_is_about_to_read(world: World) -> None:
    line = known_content(world)
    world.put("a", line, b"a", NEW)
    _what_a_collector_is_about_to_read_goes(world, line, lambda: None)


def a_project_goes_that_a_collector_is_about_to_read(world: World) -> None:
    line = known_content(world)
    world.fork("a", line, 1)

    def purged() -> None:
        world.drop("b", line)
        world.purge()

    _what_a_collector_is_about_to_read_goes(world, line, purged)


def a_draft_goes_that_a_collector_is_about_to_read(world: World) -> None:
    line = known_content(world)
    session = world.open("a", line, 1)
    _save(world, session, NEW)
    _what_a_collector_is_about_to_read_goes(world, line, lambda: _save(world, session, b"newer"))


def a_draft_goes_that_a_verification_is_about_to_read(world: World) -> None:
    line = known_content(world)
    session = world.open("a", line, 1)
    _save(world, session, NEW)
    verify = world.verify(line, stops=True)
    verify.go_to("drafted_sessions")
    verify.go_on()
    _save(world, session, b"newer")
    world.sweep()
    world.finish(verify)
    assert verify.result.ok, verify.result.problems


def a_history_goes_that_a_writer_is_about_to_read(world: World) -> None:
    line = known_content(world)
    write = world.put("b", line, b"b", b"more", stops=True)
    write.go_to("read_plan")
    write.go_on()  # it knows what to read, and has read nothing of it
    world.put("a", line, b"a", NEW)
    remove_unreferenced(world, line)
    world.finish(write)
    assert line.history[line.head] == {b"a": NEW, b"b": b"more"}, write.error


MORE_SEQUENCES: list[Sequence] = [
    a_whole_file_of_known_content_is_sent,
    the_rest_of_a_file_of_known_content_is_sent,
    a_file_in_parts_waits,
    a_client_stores_a_file_by_plan,
    a_project_begins_to_be_encrypted,
    a_deleted_project_comes_back,
    a_fork_is_made_as_its_source_is_purged,
    a_session_ends_with_changes,
    a_backup_is_declared,
    a_backup_is_declared_of_work_that_a_client_has_saved,
    a_repair_comes_between_search_and_suspicion,
    a_generation_goes_that_a_collector_is_about_to_read,
    a_project_goes_that_a_collector_is_about_to_read,
    a_draft_goes_that_a_collector_is_about_to_read,
    a_draft_goes_that_a_verification_is_about_to_read,
    a_history_goes_that_a_writer_is_about_to_read,
]
