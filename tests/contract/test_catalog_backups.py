"""What a declared backup may refer to does not leave the store."""

from __future__ import annotations

from datetime import timedelta

import pytest
from manifold_common.errors import AlreadyExists
from manifold_common.ports.catalog import Catalog, Condemned

from tests.contract.catalog_fixtures import (
    SESSION,
    TENANT,
    TTL,
    USER,
    Made,
    SettableClock,
    draft,
    make_project,
    new_id,
    session,
)
from tests.contract.test_catalog_collection import PACK, settle, suspect


@pytest.fixture
def made(catalog: Catalog) -> Made:
    made = make_project(catalog)
    made.publish(6)
    return made


def test_what_is_condemned_after_a_backup_was_declared_stays_until_it_is_released(made: Made) -> None:
    catalog, name, other = made.catalog, f"backup {new_id()}", "packs/" + "y" * 26
    suspect(made, PACK)
    settle(made, [], [PACK])
    declared = catalog.declare_backup(name, timedelta(days=1))
    with pytest.raises(AlreadyExists):
        catalog.declare_backup(name, timedelta(days=2))
    suspect(made, other)
    settle(made, [], [other])
    before = Condemned(TENANT, made.id, PACK, 7)
    assert Condemned(TENANT, made.id, other, 7) not in catalog.condemned_objects(-60)
    assert declared in catalog.declared_backups() and not declared.is_over
    assert catalog.release_backups([name]) == [] and catalog.release_backups([name]) == [name]
    assert declared not in catalog.declared_backups()
    assert set(catalog.condemned_objects(-60)) >= {before, Condemned(TENANT, made.id, other, 7)}


def test_a_draft_that_is_given_up_after_a_backup_was_declared_stays(made: Made) -> None:
    catalog, name, saved = made.catalog, f"backup {new_id()}", draft(made)
    catalog.open_session(session(made), ttl=TTL)
    catalog.save_draft(TENANT, USER, SESSION, saved, ttl=TTL)
    catalog.declare_backup(name, timedelta(days=1))
    catalog.drop_draft(TENANT, USER, SESSION, saved.commit)

    def may_go() -> bool:
        return any(one.commit == saved.commit for one in catalog.superseded_objects(-60, limit=1000))

    assert not may_go()
    catalog.release_backups([name])
    assert may_go()


def test_a_backup_whose_time_is_over_holds_nothing(made: Made, clock: SettableClock) -> None:
    catalog, name = made.catalog, f"backup {new_id()}"
    catalog.declare_backup(name, timedelta(microseconds=1))
    suspect(made, PACK)
    settle(made, [], [PACK])
    clock.time += timedelta(seconds=1)
    (found,) = [one for one in catalog.declared_backups() if one.name == name]
    assert found.is_over and Condemned(TENANT, made.id, PACK, 7) in catalog.condemned_objects(-60)
    catalog.release_backups([name])


def test_backups_are_released_together_or_not_at_all(made: Made) -> None:
    catalog = made.catalog
    first, second, never = (f"{which} {new_id()}" for which in ("first", "second", "never"))
    for name in (first, second):
        catalog.declare_backup(name, timedelta(days=1))

    def held() -> set[str]:
        return {one.name for one in catalog.declared_backups()} & {first, second}

    assert catalog.release_backups([first, never, second, never]) == [never]
    assert held() == {first, second}
    assert catalog.release_backups([first, second, first]) == [] and held() == set()
    assert catalog.release_backups([]) == []
