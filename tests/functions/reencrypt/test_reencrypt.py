"""The reencrypt function: keys go on to the newest master key, slice by slice."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from manifold_common.domain.access import LOCAL_PRINCIPAL
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
    assert answer == {
        "current": {"provider": "file", "key_name": "second", "key_version": 1},
        "rewrapped": 3, "failed": [], "failed_total": 0, "next": None,
    }  # fmt: skip
    assert names_of(function, projects) == {"second"}
    assert metrics_of(capsys.readouterr().out)["keys.rewrapped"] == 3
    assert function("reencrypt", {})["rewrapped"] == 0
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
        assert (details["rewrapped"], len(details["failed"]), details["next"]) == (0, 1, None)
        connection.execute("UPDATE project_keys SET ciphertext = %s WHERE project_id = %s", (good[0][0], spoilt))
    assert function("reencrypt", {})["rewrapped"] == 1, "the next run goes on with what failed"


def test_a_slice_ends_in_time_and_the_next_one_goes_on_there(
    make_function: MakeFunction, projects: list[ProjectId]
) -> None:
    function = make_function(**NEW_KEY)
    nothing = function("reencrypt", {}, milliseconds=5_000)
    assert (nothing["rewrapped"], nothing["next"]) == (0, None)
    first = min(projects)
    (record,) = function.manifold.context.catalog.project_keys(TENANT, first)
    after = f"{TENANT}/{first}/{record.dek}"
    stopped = function("reencrypt", {"after": after}, milliseconds=5_000)
    assert (stopped["rewrapped"], stopped["next"]) == (0, after)
    answer = function("reencrypt", {"after": after})
    assert (answer["rewrapped"], answer["next"]) == (2, None)
    assert names_of(function, [first]) == {"default"}


def test_the_sample_is_taken(make_function: MakeFunction, projects: list[ProjectId]) -> None:
    assert make_function(**NEW_KEY)("reencrypt", sample("reencrypt-direct"))["rewrapped"] == 3


def test_without_encryption_there_is_nothing_to_do(make_function: MakeFunction) -> None:
    function = make_function(PROJECTS_ENCRYPT="false")
    function.manifold.projects.create(LOCAL_PRINCIPAL, "plain")
    assert function("reencrypt", {}) == {
        "current": None, "rewrapped": 0, "failed": [], "failed_total": 0, "next": None
    }  # fmt: skip


@pytest.mark.parametrize(
    ("event", "field"),
    [
        ({"after": 7}, "after"),
        ({"after": "acme"}, "after"),
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
