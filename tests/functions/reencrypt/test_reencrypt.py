"""The reencrypt function: keys go on to the newest master key, by a job."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.job import JobState
from manifold_common.format.key_record import decode_key_record
from manifold_common.format.layout import wrapped_key_key
from manifold_common.ids import ProjectId

from functions.invocation.entry import InvocationError
from tests.support.functions import Function, MakeFunction, metrics_of, sample

NEW_KEY = {"PROJECTS_ENCRYPTION_FILE_KEY_NAME": "second"}
TENANT = LOCAL_PRINCIPAL.tenant


@pytest.fixture
def projects(make_function: MakeFunction) -> list[ProjectId]:
    """Three projects, whose keys are under the first master key."""
    function = make_function()
    return [function.manifold.projects.create(LOCAL_PRINCIPAL, name).id for name in ("one", "two", "three")]


def names_of(function: Function, projects: list[ProjectId]) -> set[str]:
    """Return under which keys the projects' keys are, in the catalog and in the store."""
    context, found = function.manifold.context, set()
    for project in projects:
        (record,) = context.catalog.project_keys(TENANT, project)
        stored = context.store.get(wrapped_key_key(TENANT, project, record.dek), max_bytes=1 << 16)
        assert decode_key_record(stored, TENANT, project, record.dek) == record
        found.add(record.wrapped.key_name)
    return found


def test_all_keys_go_on_to_the_key_of_the_settings(
    make_function: MakeFunction, projects: list[ProjectId], capsys: Any
) -> None:
    function = make_function(**NEW_KEY)
    function.manifold.projects.create(LOCAL_PRINCIPAL, "made under the second")
    assert names_of(function, projects) == {"default"}
    answer = function("reencrypt", sample("schedule"))
    assert answer["current"] == {"provider": "file", "key_name": "second", "key_version": 1}
    assert answer["finished"] == 3
    counts = {name: answer["job"][name] for name in ("state", "pending", "done", "skipped", "failed")}
    assert counts == {"state": "done", "pending": 0, "done": 3, "skipped": 0, "failed": 0}
    assert names_of(function, projects) == {"second"}
    measured = metrics_of(capsys.readouterr().out)
    assert (measured["keys.rewrapped"], measured["keys.failed"], measured["jobs.finished"]) == (3, 0, 3)
    again = function("reencrypt", {})
    assert (again["job"], again["finished"]) == (None, 0), "no job is made where no key needs one"
    for project in projects:
        function.manifold.history.snapshot(LOCAL_PRINCIPAL, project)


def test_a_key_that_fails_fails_the_invocation_once_the_others_are_done(
    make_function: MakeFunction, projects: list[ProjectId], capsys: Any
) -> None:
    function = make_function(**NEW_KEY)
    spoilt, *others = projects
    with psycopg.connect(function.variables["DATABASE_URL"], autocommit=True) as connection:
        good = connection.execute(
            "UPDATE project_keys AS k SET ciphertext = 'spoilt' FROM project_keys AS o"
            " WHERE k.project_id = %s AND o.project_id = k.project_id RETURNING o.ciphertext", (spoilt,)
        ).fetchall()  # fmt: skip
        with pytest.raises(InvocationError) as caught:
            function("reencrypt", sample("schedule"))
        assert type(caught.value).__name__ == "partly_done"
        measured = metrics_of(capsys.readouterr().out)
        assert (measured["keys.rewrapped"], measured["keys.failed"], measured["invocation.errors"]) == (2, 1, 1)
        assert names_of(function, others) == {"second"}
        details = function("reencrypt", {"errors": "return"})["error"]["details"]
        (trouble,) = details["job"]["troubles"]
        assert trouble["item"].startswith(f"{TENANT}/{spoilt}/") and trouble["error"] and trouble["message"]
        connection.execute("UPDATE project_keys SET ciphertext = %s WHERE project_id = %s", (good[0][0], spoilt))
    assert function("reencrypt", {})["job"]["done"] == 1, "the next run goes on with what failed"


def test_an_invocation_ends_in_time_and_the_next_one_goes_on_with_the_job(
    make_function: MakeFunction, projects: list[ProjectId]
) -> None:
    function = make_function(**NEW_KEY)
    nothing = function("reencrypt", {}, milliseconds=5_000)
    assert (nothing["job"]["state"], nothing["finished"]) == ("running", 0)
    assert names_of(function, projects) == {"default"}
    answer = function("reencrypt", {})
    assert (answer["job"]["id"], answer["job"]["state"], answer["finished"]) == (nothing["job"]["id"], "done", 3)
    assert names_of(function, projects) == {"second"}


def test_one_project_alone_may_be_asked_for(make_function: MakeFunction, projects: list[ProjectId]) -> None:
    function = make_function(**NEW_KEY)
    assert function("reencrypt", {"project": projects[1]})["finished"] == 1
    assert names_of(function, [projects[1]]) == {"second"}
    assert names_of(function, [projects[0], projects[2]]) == {"default"}


def test_what_somebody_else_has_started_is_worked_on(make_function: MakeFunction, projects: list[ProjectId]) -> None:
    function = make_function(**NEW_KEY)
    begun = function.manifold.jobs.start(LOCAL_PRINCIPAL, "rewrap", {"project": projects[0]}).job
    assert function("reencrypt", {})["finished"] >= 3
    assert function.manifold.jobs.get(LOCAL_PRINCIPAL, begun.id).state is JobState.DONE


def test_the_sample_is_taken(make_function: MakeFunction, projects: list[ProjectId]) -> None:
    assert make_function(**NEW_KEY)("reencrypt", sample("reencrypt-direct"))["finished"] == 3


def test_without_encryption_there_is_nothing_to_do(make_function: MakeFunction) -> None:
    function = make_function(PROJECTS_ENCRYPT="false")
    function.manifold.projects.create(LOCAL_PRINCIPAL, "plain")
    assert function("reencrypt", {}) == {"current": None, "job": None, "finished": 0}


@pytest.mark.parametrize(
    ("event", "field"),
    [
        ({"project": 7}, "project"),
        ({"before": ""}, "before"),
    ],
)
def test_malformed_events_are_refused_with_the_name_of_the_field(
    make_function: MakeFunction, event: Any, field: str
) -> None:
    function = make_function()
    with pytest.raises(InvocationError) as caught:
        function("reencrypt", event)
    assert type(caught.value).__name__ == "malformed_event"
    assert f"{field}: " in str(caught.value)
