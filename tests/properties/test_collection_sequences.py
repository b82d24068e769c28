"""What is known to be dangerous ends well, wherever a collector dies; and collectors that are naive are found out."""

from __future__ import annotations

import pytest
from manifold_common.errors import ManifoldError

from tests.properties.collection_sequences import (
    NEW,
    SEQUENCES,
    Sequence,
    X,
    a_checkpoint_is_ready,
    a_collector_ends_with_suspicions,
    a_commit_comes_between_search_and_suspicion,
    a_commit_of_new_content_is_ready,
    a_draft_holds_what_nothing_else_does,
    a_draft_is_ready,
    a_fork_holds_what_its_source_gave_up,
    a_fork_is_made_between_search_and_suspicion,
    a_fork_is_ready,
    a_reference_comes_and_goes_before_it_was_looked_for_again,
    a_restore_is_ready,
    a_session_and_a_tag_stand_on_old_generations,
    an_edit_is_ready,
    content_moves_for_so_long_that_it_counts_as_garbage,
    dropped_work_is_about_to_be_kept,
    run,
)
from tests.properties.more_collection_sequences import (
    MORE_SEQUENCES,
    a_backup_is_declared,
    a_client_stores_a_file_by_plan,
    a_deleted_project_comes_back,
    a_file_in_parts_waits,
    a_project_begins_to_be_encrypted,
    a_whole_file_of_known_content_is_sent,
    the_rest_of_a_file_of_known_content_is_sent,
)
from tests.properties.naive_collectors import (
    Naive,
    a_commit_ignores_the_epoch,
    all_else_ignores_the_epoch,
    an_upload_ignores_the_epoch,
    backups_hold_nothing,
    deleted_projects_hold_nothing,
    drafts_hold_nothing,
    encryption_ignores_the_epoch,
    forks_are_not_looked_at,
    no_epoch_moves,
    nothing_is_looked_for_again,
    nothing_is_pinned,
    only_heads_are_marked,
    references_may_have_gone,
    uploads_hold_nothing,
    what_is_condemned_stays,
    what_is_suspected_goes,
    whoever_comes_late_looks_for_nothing,
)
from tests.support.garbage_world import World


@pytest.mark.parametrize("sequence", [*SEQUENCES, *MORE_SEQUENCES], ids=lambda one: one.__name__)
def test_what_could_go_wrong_ends_well(sequence: Sequence) -> None:
    run(sequence, World())


# --- collectors that end anywhere -----------------------------------------------------------------------------------


def much_to_collect(world: World) -> None:
    line = world.create()
    world.put_all("a", line, {b"a": X, b"b": NEW, b"c": b"three" * 500})
    world.fork("a", line, 1)
    world.delete("a", line, b"b")
    session = world.open("b", line, 2)
    world.write(session, b"d", NEW)
    world.save(session)
    world.delete("a", line, b"c")
    world.put("a", world.lines[1], b"a", b"small")


def test_a_collector_may_be_killed_before_any_of_its_calls() -> None:
    def killed_after(calls: int) -> bool:
        world = World()
        much_to_collect(world)
        steps = world.collect(world.lines[0], 1, stops=True)
        steps.go_on(calls)
        was_done = steps.done
        world.kill(steps)
        run(lambda world: world.check_everything_reads(), world)
        return was_done

    calls = 0
    while not killed_after(calls):
        calls += 1
    assert calls > 20


def test_any_request_of_a_collector_may_fail() -> None:
    def failed_at(request: int) -> bool:
        world = World()
        much_to_collect(world)
        steps = world.collect(world.lines[0], 1, fail_at=request)
        run(lambda world: world.check_everything_reads(), world)
        return steps.error is not None

    requests = 1
    while failed_at(requests):
        requests += 1
    assert requests > 10


# --- naive ones -----------------------------------------------------------------------------------------------------


FOUND_OUT: list[tuple[Naive, Sequence]] = [
    (no_epoch_moves, an_edit_is_ready),
    (a_commit_ignores_the_epoch, an_edit_is_ready),
    (a_commit_ignores_the_epoch, a_commit_of_new_content_is_ready),
    (a_commit_ignores_the_epoch, a_restore_is_ready),
    (all_else_ignores_the_epoch, a_draft_is_ready),
    (all_else_ignores_the_epoch, a_fork_is_ready),
    (all_else_ignores_the_epoch, a_checkpoint_is_ready),
    (all_else_ignores_the_epoch, dropped_work_is_about_to_be_kept),
    (nothing_is_looked_for_again, a_commit_comes_between_search_and_suspicion),
    (whoever_comes_late_looks_for_nothing, a_commit_of_new_content_is_ready),
    (what_is_suspected_goes, a_collector_ends_with_suspicions),
    (forks_are_not_looked_at, a_fork_holds_what_its_source_gave_up),
    (references_may_have_gone, a_reference_comes_and_goes_before_it_was_looked_for_again),
    (references_may_have_gone, a_fork_is_made_between_search_and_suspicion),
    (drafts_hold_nothing, a_draft_holds_what_nothing_else_does),
    (only_heads_are_marked, a_session_and_a_tag_stand_on_old_generations),
    (nothing_is_pinned, a_session_and_a_tag_stand_on_old_generations),
    (what_is_condemned_stays, an_edit_is_ready),
    (all_else_ignores_the_epoch, content_moves_for_so_long_that_it_counts_as_garbage),
    (an_upload_ignores_the_epoch, a_whole_file_of_known_content_is_sent),
    (an_upload_ignores_the_epoch, the_rest_of_a_file_of_known_content_is_sent),
    (uploads_hold_nothing, a_file_in_parts_waits),
    (uploads_hold_nothing, a_client_stores_a_file_by_plan),
    (deleted_projects_hold_nothing, a_deleted_project_comes_back),
    (backups_hold_nothing, a_backup_is_declared),
    (encryption_ignores_the_epoch, a_project_begins_to_be_encrypted),
]


@pytest.mark.parametrize(("naive", "sequence"), FOUND_OUT, ids=lambda one: one.__name__)
def test_a_naive_way_is_found_out(naive: Naive, sequence: Sequence, monkeypatch: pytest.MonkeyPatch) -> None:
    naive(monkeypatch)
    with pytest.raises((AssertionError, ManifoldError)):
        run(sequence, World())
