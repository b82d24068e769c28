"""Plaintext in RAM goes away when it should, whatever an agent made of its working set."""

from __future__ import annotations

import os
from pathlib import Path

from manifold_common.engine.working_set.removal import remove_tree

from tests.support.privileges import bound_by_permissions


def test_a_folder_deeper_than_any_path_may_be_long_is_removed(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    fd = os.open(top, os.O_RDONLY)
    for _ in range(2500):
        os.mkdir("d" * 20, dir_fd=fd)
        below = os.open("d" * 20, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)
    remove_tree(str(top))
    assert not top.exists()


def test_folders_that_nobody_may_enter_or_change_are_removed(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "a" / "b" / "c").mkdir(parents=True)
    (top / "a" / "b" / "c" / "file").write_text("x")
    for folder, mode in (("a/b/c", 0), ("a/b", 0o555), ("a", 0o111), (".", 0o555)):
        (top / folder).chmod(mode)
    with bound_by_permissions():
        remove_tree(str(top))
    assert not top.exists()


def test_links_are_removed_and_what_is_behind_them_stays(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "folder").mkdir(parents=True, mode=0o751)
    (outside / "file").write_text("x")
    top = tmp_path / "top"
    top.mkdir()
    (top / "folder").symlink_to(outside)
    (top / "file").symlink_to(outside / "file")
    remove_tree(str(top))
    assert not top.exists()
    assert (outside / "file").read_text() == "x"
    assert (outside / "folder").stat().st_mode & 0o777 == 0o751
