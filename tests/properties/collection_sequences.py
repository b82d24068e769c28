"""Sequences in which something that is needed could go, each as it was found or thought of.

Each is given a world, and leaves it to whoever runs it to look at what came of it.
"""

from __future__ import annotations

from collections.abc import Callable

from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.conflict import Strategy

from tests.support.garbage import TENANT
from tests.support.garbage_model import PACKED, Line, Session
from tests.support.garbage_world import World
from tests.support.steps import Steps

X = PACKED[0]
NEW = PACKED[1]


def remove_unreferenced(world: World, line: Line) -> None:
    """Have whatever is not kept go at once, the history before the newest generation with it."""
    world.collect(line, 1)
    world.sweep()


def known_content(world: World) -> Line:
    """Return a project whose only file is X."""
    line = world.create()
    world.put("a", line, b"a", X)
    return line


def a_fork_is_made_between_search_and_suspicion(world: World) -> None:
    source = world.create()
    world.put("a", source, b"a", X)
    fork = world.fork("a", source, 1, stops=True)
    fork.go_to("create_project")
    world.delete("b", source, b"a")
    slow = world.collect(source, 1, stops=True)
    slow.go_to("suspect")  # generation 1 is gone, and nothing refers to its content
    world.finish(fork)
    made = world.lines[-1]
    write = world.put("a", made, b"b", X, stops=True)
    write.go_to("publish_commit")
    world.delete("b", made, b"a")
    other = world.collect(source, 1, stops=True)
    other.go_to("remove_generations")
    other.go_on()
    world.kill(other)
    assert made.removed == {1}
    world.finish(slow)
    world.finish(write)


def a_reference_comes_and_goes_before_it_was_looked_for_again(world: World) -> None:
    line = world.create()
    world.put("a", line, b"a", X)
    first = world.put("a", line, b"b", X, stops=True)
    first.go_to("publish_commit")
    world.delete("b", line, b"a")
    slow = world.collect(line, 1, stops=True)
    slow.go_to("suspect")
    world.finish(first)
    slow.go_on()  # it suspects what generation 3 refers to by now
    second = world.put("a", line, b"c", X, stops=True)
    second.go_to("publish_commit")
    world.delete("b", line, b"b")
    other = world.collect(line, 1, stops=True)
    other.go_to("remove_generations")
    other.go_on()
    world.kill(other)
    assert 3 in line.removed
    world.finish(slow)
    world.finish(second)


def one_collector_suspects_while_another_looks_again(world: World) -> None:
    while True:
        source = world.create()
        world.put("a", source, b"z", b"first")
        early = world.collect(source, 1, stops=True)
        early.go_to("list")
        while early.at == "list":
            early.go_on()
        assert not early.done
        world.put("b", source, b"a", X)
        world.fork("b", source, source.head)
        fork = world.lines[-1]
        if fork.project < source.project:
            break
        world.kill(early)
    write = world.put("a", fork, b"b", X, stops=True)
    write.go_to("publish_commit")
    world.delete("b", fork, b"a")
    world.delete("b", source, b"a")
    late = world.collect(source, 1, stops=True)
    late.go_to("suspect")
    early.go_to("holdings", may_end=True)
    early.go_on()  # if it looks again, it has looked at the fork, and not yet at the source
    world.finish(write)
    late.go_on()
    world.finish(early)
    world.check_nothing_needed_goes()
    world.finish(late)


def a_collector_is_overtaken_twice(world: World) -> None:
    line = world.create()
    world.put("a", line, b"a", X)
    write = world.put("a", line, b"b", X, stops=True)
    write.go_to("publish_commit")
    seer = world.collect(line, 2, stops=True)
    seer.go_to("list")
    world.delete("b", line, b"a")
    slow = world.collect(line, 1, stops=True)
    slow.go_to("settle")
    world.finish(seer)  # it has seen what referred to the content
    third = world.collect(line, 1, stops=True)
    write.go_to("publish_commit", may_end=True)
    third.go_to("suspect")
    world.finish(write)
    third.go_on()
    world.finish(slow)
    world.check_nothing_needed_goes()
    world.finish(third)


def a_checkpoint_comes_and_is_replaced_before_it_was_looked_for_again(world: World) -> None:
    line = world.create()
    world.put_all("a", line, {b"a": X, b"b": PACKED[1], b"c": PACKED[2]})
    world.delete("a", line, b"b")
    world.delete("a", line, b"c")
    first = world.checkpoint("a", line, stops=True)
    first.go_to("add_checkpoint")  # what it has written refers to the content where it is
    slow = world.collect(line, 1, stops=True)
    slow.go_to("suspect")  # which is somewhere else by now, as far as anybody says
    world.finish(first)
    slow.go_on()
    write = world.put("b", line, b"c", X, stops=True)
    write.go_to("publish_commit")
    other = world.collect(line, 1, stops=True)
    other.go_to("add_checkpoint")
    other.go_on()
    world.kill(other)
    world.finish(slow)
    world.finish(write)


def an_edit_is_ready(world: World) -> None:
    line = known_content(world)
    write = world.put("a", line, b"b", X, stops=True)
    write.go_to("publish_commit")
    world.delete("b", line, b"a")
    write.go_to("publish_commit")  # on the new head
    remove_unreferenced(world, line)
    world.finish(write)


def a_commit_of_known_content_is_ready(world: World) -> None:
    line = known_content(world)
    session = world.open("a", line, 1)
    world.write(session, b"b", X)
    commit = world.commit(session, stops=True)
    commit.go_to("publish_commit")
    world.delete("b", line, b"a")
    commit.go_to("publish_commit")
    remove_unreferenced(world, line)
    world.finish(commit)
    assert line.history[line.head] == {b"b": X}, commit.error
    world.check_files(session)


def a_commit_of_new_content_is_ready(world: World) -> None:
    line = known_content(world)
    session = world.open("a", line, 1)
    world.write(session, b"b", NEW)
    commit = world.commit(session, stops=True)
    commit.go_to("publish_commit")
    remove_unreferenced(world, line)
    world.finish(commit)
    assert line.history[line.head] == {b"a": X, b"b": NEW}, commit.error


def a_draft_is_ready(world: World) -> None:
    line = known_content(world)
    session = world.open("a", line, 1)
    world.write(session, b"b", NEW)
    save = world.save(session, stops=True)
    save.go_to("save_draft")
    remove_unreferenced(world, line)
    world.finish(save)
    assert session.draft == (1, {b"a": X, b"b": NEW}), save.error
    remove_unreferenced(world, line)


def a_restore_is_ready(world: World) -> None:
    line = known_content(world)
    world.delete("b", line, b"a")
    restore = world.restore("a", line, 1, stops=True)
    restore.go_to("publish_commit")
    world.put("b", line, b"c", b"other")
    restore.go_to("publish_commit")
    remove_unreferenced(world, line)
    world.finish(restore)


def a_fork_is_ready(world: World) -> None:
    line = known_content(world)
    fork = world.fork("a", line, 1, stops=True)
    fork.go_to("create_project")
    world.delete("b", line, b"a")
    remove_unreferenced(world, line)
    world.finish(fork)


def a_checkpoint_is_ready(world: World) -> None:
    line = world.create()
    world.put_all("a", line, {b"a": X, b"b": PACKED[1], b"c": PACKED[2]})
    world.delete("a", line, b"b")
    world.delete("a", line, b"c")
    checkpoint = world.checkpoint("a", line, stops=True)
    checkpoint.go_to("add_checkpoint")
    remove_unreferenced(world, line)
    world.finish(checkpoint)


def dropped_work_is_about_to_be_kept(world: World) -> None:
    line = known_content(world)
    write = world.put("a", line, b"b", X, Strategy.THEIRS, stops=True)
    write.go_to("publish_commit")
    world.delete("b", line, b"a")
    world.put("b", line, b"b", b"other")
    write.go_to("open_session")
    remove_unreferenced(world, line)
    world.finish(write)


def a_session_and_a_tag_stand_on_old_generations(world: World) -> None:
    line = known_content(world)
    world.put("a", line, b"a", NEW)
    world.tag("a", line, 2, "v1")
    session = world.open("a", line, 1)
    world.put("a", line, b"a", b"newest")
    remove_unreferenced(world, line)
    world.check_everything_reads()
    world.write(session, b"b", b"more")
    world.commit(session)


def a_draft_holds_what_nothing_else_does(world: World) -> None:
    line = known_content(world)
    session = world.open("a", line, 1)
    world.write(session, b"b", NEW)
    world.save(session)
    remove_unreferenced(world, line)
    world.check_everything_reads()
    world.commit(session)


def a_fork_holds_what_its_source_gave_up(world: World) -> None:
    line = known_content(world)
    world.fork("a", line, 1)
    world.delete("b", line, b"a")
    remove_unreferenced(world, line)
    world.check_everything_reads()
    world.drop("b", line)
    remove_unreferenced(world, line)


def a_collector_ends_with_suspicions(world: World) -> None:
    line = known_content(world)
    write = world.put("a", line, b"b", X, stops=True)
    write.go_to("publish_commit")
    world.delete("b", line, b"a")
    slow = world.collect(line, 1, stops=True)
    slow.go_to("suspect")
    world.finish(write)
    slow.go_on()
    world.kill(slow)
    world.sweep()
    world.check_everything_reads()
    remove_unreferenced(world, line)


def a_commit_comes_between_search_and_suspicion(world: World) -> None:
    line = known_content(world)
    write = world.put("a", line, b"b", X, stops=True)
    write.go_to("publish_commit")
    world.delete("b", line, b"a")
    slow = world.collect(line, 1, stops=True)
    slow.go_to("suspect")
    world.finish(write)
    world.finish(slow)
    world.sweep()


def content_moves_for_so_long_that_it_counts_as_garbage(world: World) -> None:
    line = world.create()
    world.put_all("a", line, {b"a": X, b"b": PACKED[1], b"c": PACKED[2]})
    world.delete("a", line, b"b")
    world.delete("a", line, b"c")
    slow = world.collect(line, 1, stops=True)
    slow.go_to("list")
    slow.go_to("read_plan")
    slow.go_to("read_plan")  # what is still in use of the pack is stored in one of its own
    world.collect(line, 1)
    world.finish(slow)
    world.check_nothing_needed_goes()


def _a_draft_is_taken_off(world: World, session: Session) -> None:
    """As a client does that saves work which changes nothing: it asks for no working set."""
    catalog, user = world.nodes["b"].context.catalog, LOCAL_PRINCIPAL.user
    draft = catalog.view_session(TENANT, user, session.name).session.draft
    assert catalog.drop_draft(TENANT, user, session.name, draft.commit)


def _work_relies_on_a_draft_that_goes(world: World, again: Callable[[Session], Steps], call: str) -> None:
    line = known_content(world)
    session = world.open("a", line, 1)
    world.write(session, b"b", NEW)
    save = world.save(session, stops=True)
    save.go_to("save_draft")
    slow = world.collect(line, 1, stops=True)
    slow.go_to("suspect")  # what the draft is about to refer to
    world.finish(save)
    slow.go_on()
    world.write(session, b"c", b"more")
    work = again(session)
    work.go_to(call)
    work.go_to(call)  # on the new epoch, at which the draft still refers to it
    _a_draft_is_taken_off(world, session)
    world.finish(slow)
    world.finish(work)


def a_save_relies_on_a_draft_that_goes(world: World) -> None:
    _work_relies_on_a_draft_that_goes(world, lambda session: world.save(session, stops=True), "save_draft")


def a_commit_relies_on_a_draft_that_goes(world: World) -> None:
    _work_relies_on_a_draft_that_goes(world, lambda session: world.commit(session, stops=True), "publish_commit")


def work_goes_on_from_a_draft_after_a_collection(world: World) -> None:
    line = known_content(world)
    session = world.open("a", line, 1)
    world.write(session, b"b", NEW)
    world.save(session)
    world.delete("b", line, b"a")
    remove_unreferenced(world, line)
    before = world.keys()
    world.write(session, b"c", b"more")
    world.save(session)
    assert not {key for key in world.keys() - before if "/packs/" in key}, "nothing of it has to be stored anew"
    world.commit(session)


Sequence = Callable[[World], None]
SEQUENCES: list[Sequence] = [
    a_fork_is_made_between_search_and_suspicion,
    a_reference_comes_and_goes_before_it_was_looked_for_again,
    one_collector_suspects_while_another_looks_again,
    a_collector_is_overtaken_twice,
    a_checkpoint_comes_and_is_replaced_before_it_was_looked_for_again,
    an_edit_is_ready,
    a_commit_of_known_content_is_ready,
    a_commit_of_new_content_is_ready,
    a_draft_is_ready,
    a_restore_is_ready,
    a_fork_is_ready,
    a_checkpoint_is_ready,
    dropped_work_is_about_to_be_kept,
    a_session_and_a_tag_stand_on_old_generations,
    a_draft_holds_what_nothing_else_does,
    a_fork_holds_what_its_source_gave_up,
    a_collector_ends_with_suspicions,
    a_commit_comes_between_search_and_suspicion,
    content_moves_for_so_long_that_it_counts_as_garbage,
    a_save_relies_on_a_draft_that_goes,
    a_commit_relies_on_a_draft_that_goes,
    work_goes_on_from_a_draft_after_a_collection,
]


def run(sequence: Sequence, world: World) -> None:
    """Fails where something that is needed goes, or anything else stays."""
    try:
        sequence(world)
        world.check_nothing_needed_goes()
        world.check_only_what_is_needed_stays(1)
    finally:
        world.close()
