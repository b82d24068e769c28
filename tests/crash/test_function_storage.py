"""A function whose ``/tmp`` is full, for real: each answered rightly, nothing half made, nothing lost.

Sizes are those of a small file system that a function's container has for its cache and its working sets.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL

from tests.support.emulator import MakeEmulated
from tests.support.small_disk import MIB, MakeSmallDisk, SmallDisk

EVENT = {"project": "demo", "session": "agent-1", "errors": "return"}


@pytest.fixture
def disk(small_disk: MakeSmallDisk, tmp_path: Path) -> SmallDisk:
    """The ``/tmp`` of the container ``a``."""
    return small_disk(tmp_path / "container-a" / "tmp", size=16 * MIB)


def imported(observer: Manifold, tmp_path: Path, name: str, sizes: dict[str, int]) -> None:
    source = tmp_path / f"source-{name}"
    source.mkdir()
    for file, size in sizes.items():
        (source / file).write_bytes(os.urandom(size))
    if name != "demo":
        observer.projects.create(LOCAL_PRINCIPAL, name)
    project = observer.projects.resolve(LOCAL_PRINCIPAL, name).id
    observer.transfer.import_folder(LOCAL_PRINCIPAL, project, source)


def assert_same(work: str, tmp_path: Path, name: str) -> None:
    source = tmp_path / f"source-{name}"
    assert sorted(os.listdir(work)) == sorted(os.listdir(source))
    assert all((source / file).read_bytes() == Path(work, file).read_bytes() for file in os.listdir(work))


def test_what_does_not_fit_is_refused_before_anything_is_written_and_a_part_that_fits_is_had(
    emulated: MakeEmulated, observer: Manifold, tmp_path: Path, disk: SmallDisk
) -> None:
    imported(observer, tmp_path, "demo", {"large": 14 * MIB, "small": 1000})
    checkout = emulated("checkout")
    error = checkout.invoke(EVENT).payload["error"]
    assert error["code"] == "no_space" and error["status"] == 507
    assert error["details"]["needed"] > error["details"]["free"]
    assert disk.bytes_below("sets") == 0
    part = checkout.invoke({**EVENT, "paths": ["small"]}).payload
    assert os.listdir(part["path"]) == ["small"]
    disk.resize(size=64 * MIB)
    whole = checkout.invoke({**EVENT, "session": "agent-2"}).payload
    assert whole["kind"] == "new"
    assert_same(whole["path"], tmp_path, "demo")


@pytest.mark.parametrize("options", [{"size": 11 * MIB}, {"size": 16 * MIB, "nr_inodes": 1500}])
def test_a_disk_that_is_full_in_the_middle_of_a_checkout_is_said_so_and_nothing_half_made_stays(
    emulated: MakeEmulated, observer: Manifold, tmp_path: Path, disk: SmallDisk, options: dict[str, int]
) -> None:
    """Each of these files takes a page, twice what is reckoned with."""
    imported(observer, tmp_path, "demo", {f"file-{number:04}": 1 for number in range(3000)})
    disk.resize(**options)
    checkout = emulated("checkout")
    error = checkout.invoke(EVENT).payload["error"]
    assert error["code"] == "no_space"
    assert "the working set needs about" not in error["detail"], "it was to begin, and not to end"
    assert list(disk.folder.rglob("file-*")) == []
    disk.resize(size=64 * MIB, nr_inodes=100_000)
    done = checkout.invoke(EVENT).payload
    assert done["kind"] in ("new", "restored")
    assert_same(done["path"], tmp_path, "demo")


def test_the_cache_makes_way_for_a_working_set(
    emulated: MakeEmulated, observer: Manifold, tmp_path: Path, disk: SmallDisk
) -> None:
    disk.resize(size=32 * MIB)
    imported(observer, tmp_path, "demo", {"one": 12 * MIB})
    imported(observer, tmp_path, "other", {"two": 22 * MIB})
    checkout = emulated("checkout")
    assert_same(checkout.invoke(EVENT).payload["path"], tmp_path, "demo")
    assert disk.bytes_below("manifold/.cache") >= 12 * MIB
    done = checkout.invoke({**EVENT, "project": "other", "session": "agent-2"}).payload
    assert_same(done["path"], tmp_path, "other")
    assert disk.bytes_below("manifold/.cache") <= 32 * MIB - 26 * MIB
    back = checkout.invoke(EVENT).payload
    assert_same(back["path"], tmp_path, "demo")


def test_the_cache_takes_no_room_from_a_working_set_that_is_being_written(
    emulated: MakeEmulated, observer: Manifold, tmp_path: Path, disk: SmallDisk
) -> None:
    """What is fetched for it would be kept, and both together do not fit."""
    disk.resize(size=32 * MIB)
    imported(observer, tmp_path, "demo", {f"file-{number}": 2 * MIB for number in range(11)})
    done = emulated("checkout").invoke(EVENT).payload
    assert_same(done["path"], tmp_path, "demo")


def test_the_cache_makes_way_for_what_others_have_committed(
    emulated: MakeEmulated, observer: Manifold, tmp_path: Path, disk: SmallDisk
) -> None:
    disk.resize(size=32 * MIB)
    imported(observer, tmp_path, "demo", {"one": 11 * MIB})
    checkout = emulated("checkout")
    assert checkout.invoke(EVENT).payload["generation"] == 1
    assert disk.bytes_below("manifold/.cache") >= 11 * MIB
    (tmp_path / "source-demo").rename(tmp_path / "first")
    imported(observer, tmp_path, "demo", {"two": 12 * MIB})
    done = checkout.invoke(EVENT).payload
    assert (done["generation"], done["kind"]) == (2, "refreshed")
    assert Path(done["path"], "two").stat().st_size == 12 * MIB


def test_a_commit_needs_no_room_in_tmp(
    emulated: MakeEmulated, observer: Manifold, disk: SmallDisk, tmp_path: Path
) -> None:
    commit = emulated("commit")
    assert commit.invoke({"what": "warms it up"}).error == "malformed_event"
    fill(disk.folder / "ballast")
    change = {"op": "put", "path": "file", "text": "text" * 100_000}
    assert commit.invoke({"project": "demo", "changes": [change], "errors": "return"}).payload["generation"] == 1


def test_a_session_that_has_filled_the_disk_is_saved_and_makes_way_for_the_next_one(
    emulated: MakeEmulated, observer: Manifold, tmp_path: Path, disk: SmallDisk
) -> None:
    imported(observer, tmp_path, "demo", {"one": 100_000})
    imported(observer, tmp_path, "other", {"two": 100_000})
    checkout = emulated("checkout")
    work = checkout.invoke(EVENT).payload["path"]
    fill(Path(work, "written"))
    filled_bytes = Path(work, "written").stat().st_size
    done = checkout.invoke({**EVENT, "project": "other", "session": "agent-2"}).payload
    assert_same(done["path"], tmp_path, "other")
    disk.resize(size=64 * MIB)
    back = checkout.invoke(EVENT).payload
    assert (back["kind"], Path(back["path"], "written").stat().st_size) == ("restored", filled_bytes)


def fill(path: Path) -> None:
    with path.open("wb") as file, pytest.raises(OSError, match="No space left"):
        while True:
            os.write(file.fileno(), os.urandom(1 << 16))
