"""Every setting is read by something, or is marked as one that has no effect yet; what it becomes is read as well."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from manifold_common.settings import Settings, describe_settings
from manifold_common.settings.fields import Section

from tests.support.attribute_reads import ROOT, Read, reads_in, run_mypy
from tests.support.workers import made_once

COMMON = ROOT / "layers" / "manifold_common" / "manifold_common"
OURS = (COMMON, ROOT / "functions", ROOT / "local" / "manifold_local")
CHECKS = COMMON / "settings" / "checks.py"
"""Which settings go together is asked there; that does not give one an effect."""

Place = tuple[str, str]
"""A class and the name of an attribute."""


def places(model: type[Section] = Settings, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Place]]:
    """Yield where each setting stands: its path from the root, and the section that has it."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from places(kind, (*path, name))
        else:
            yield (*path, name), (f"{model.__module__}.{model.__name__}", name)


def sections(model: type[Section] = Settings) -> Iterator[type[Section]]:
    yield model
    for field in model.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from sections(field.annotation)


def read_of(found: set[Read]) -> set[Place]:
    return {(one.owner, one.attribute) for one in found if (ROOT / one.file) != CHECKS}


@pytest.fixture(scope="module")
def read(shared_folder: Path) -> set[Place]:
    folder = shared_folder / "setting-reads"

    def find() -> None:
        folder.mkdir(exist_ok=True)
        run_mypy([path for one in OURS for path in sorted(one.rglob("*.py"))], folder)

    made_once(folder, find)
    return read_of(reads_in(folder))


def test_a_setting_has_a_reader_or_is_marked_as_not_served_yet(read: set[Place]) -> None:
    by_path = {setting.path: setting for setting in describe_settings()}
    found = dict(places())
    assert by_path.keys() == found.keys()
    unread = {by_path[path].key for path, place in found.items() if place not in read}
    marked = {setting.key for setting in describe_settings() if setting.unserved is not None}
    assert unread - marked == set(), "nothing reads these: give them an effect, remove them, or mark them as unserved"
    assert marked - unread == set(), "something reads these, so they have an effect: take the mark away"


def test_each_section_stands_at_one_place_so_that_a_reader_of_one_is_none_of_another() -> None:
    assert [name for name, count in Counter(sections()).items() if count > 1] == []


def test_what_adapters_are_told_is_read_by_them(read: set[Place]) -> None:
    options = set()
    for path in (COMMON / "adapters").glob("*/options.py"):
        module = ".".join(path.relative_to(COMMON.parent).with_suffix("").parts)
        classes = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)]
        for one in classes:
            fields = [item.target for item in one.body if isinstance(item, ast.AnnAssign)]
            options |= {(f"{module}.{one.name}", field.id) for field in fields if isinstance(field, ast.Name)}
    assert len(options) > 40
    assert options - read == set()


READERS = """
from manifold_common.settings import Auth, Settings

class Other:
    enabled = True
    issuer_url = ""

class Holder:
    def __init__(self, settings: Settings) -> None:
        self.limits = settings.server

def direct(settings: Settings, other: Other) -> object:
    other.enabled, other.issuer_url
    "settings.auth.client_id"
    return settings.projects.retention.days

def further(holder: Holder, auths: list[Auth]) -> object:
    found = [one.audience for one in auths]
    tls, unused = holder.limits, holder
    return found, tls.idle_seconds
"""


def test_only_a_read_of_the_setting_itself_counts(tmp_path: Path) -> None:
    """By whatever way it got there; not one of another class's attribute of that name, and no mention in a text."""
    reader = tmp_path / "reader.py"
    reader.write_text(READERS)
    run_mypy([*sorted((COMMON / "settings").glob("*.py")), reader], tmp_path)
    ours = {(one.owner.rpartition(".")[2], one.attribute) for one in reads_in(tmp_path) if one.file == str(reader)}
    assert ours == {
        ("Settings", "server"),
        ("Settings", "projects"),
        ("Projects", "retention"),
        ("Retention", "days"),
        ("Auth", "audience"),
        ("Server", "idle_seconds"),
    }
