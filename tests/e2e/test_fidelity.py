"""What goes in comes out: names, contents, links, modes and times, by import, export and checkout of the real program.

``MANIFOLD_TEST_LARGE=1`` makes the large file 1 GiB.
"""

from __future__ import annotations

import os
import random
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.cli import Program
from tests.support.large_file import FULL_SIZE, write_mixed

FILES = 10_000
SIZES = (0, 1, 7, 200, 900, 2_000, 4_096, 6_000, 9_000)
RARE_SIZES = (65_536, 262_143, 262_144, 262_145, 1_048_575, 1_048_576, 1_048_577, 3_000_000)
FILE_MODES = (0o644, 0o644, 0o755, 0o600, 0o400, 0o444, 0o500, 0o711, 0o777, 0o604, 0o640, 0o666)
FOLDER_MODES = (0o755, 0o755, 0o700, 0o555, 0o500, 0o777, 0o751)
STRANGE_NAMES = (
    b"\xff\xfe\x80", b"caf\xe9", "café".encode(), "cafe\u0301".encode(), "日本語 🙂".encode(), b"new\nline",
    b"-rf", b"--", b" ", b"two  spaces ", b"quote'\"`", b"back\\slash", b"$HOME", b"*", b"...", b".hidden", b"~",
    b"\x01\x7f", b"tab\there", b"%41", b"CON", b"Case", b"case", b"x" * 255, b"\xc3" * 255,
)  # fmt: skip
TARGETS = (
    b"nowhere", b"../nowhere/at all", b"/etc/hostname", b"/no/such/path", b".", b"..", b"/", b"self", b"folder/",
    b"\xff\xfe", b"new\nline", b"y" * 4095,
)  # fmt: skip
TIMES_NS = (0, 1, -1, 999_999_999, -62_135_596, 1_700_000_000_123_456_789, -1_999_999_999_000_000_001, 8 * 10**18 + 7)


class Stamp(NamedTuple):
    mode: int
    mtime_ns: int
    target: bytes


def stamps(folder: Path) -> dict[bytes, Stamp]:
    """Return kind, mode and time of a folder and of everything below it, and where links point to."""
    found: dict[bytes, Stamp] = {}
    root = os.fsencode(folder)
    for where, folders, files in os.walk(root):
        for path in (where, *(os.path.join(where, name) for name in (*folders, *files))):
            status = os.lstat(path)
            target = os.readlink(path) if stat.S_ISLNK(status.st_mode) else b""
            found[os.path.relpath(path, root)] = Stamp(status.st_mode, status.st_mtime_ns, target)
    return found


def time_ns(rng: random.Random) -> int:
    return rng.choice(TIMES_NS) if rng.random() < 0.2 else rng.randrange(-(10**18), 4 * 10**18)


def make_tree(root: Path, rng: random.Random) -> None:
    """Make a tree of ``FILES`` files, with links, empty folders, and names, modes and times of every kind."""
    root.mkdir()
    folders = [os.fsencode(root)]
    for number in range(600):
        above = rng.choice(folders[-40:])
        if above.count(b"/") > 25:
            above = folders[0]
        folders.append(os.path.join(above, b"d%d" % number))
        os.mkdir(folders[-1])
    folders += [os.path.join(folders[0], b"folder of " + name) for name in STRANGE_NAMES if len(name) < 200]
    for folder in folders[601:]:
        os.mkdir(folder)
    with_files = [folder for number, folder in enumerate(folders) if number % 5 != 1]

    names = [*STRANGE_NAMES, *(b"f%d" % number for number in range(FILES - len(STRANGE_NAMES)))]
    for number, name in enumerate(names):
        path = os.path.join(rng.choice(with_files), name)
        size = rng.choice(RARE_SIZES) if number % 400 == 0 else rng.choice(SIZES)
        with open(path, "wb") as file:
            file.write(rng.randbytes(size // 3) + bytes(size - size // 3))
        os.chmod(path, rng.choice(FILE_MODES))
        stamp_ns = time_ns(rng)
        os.utime(path, ns=(0, stamp_ns))

    to_folders = [os.path.relpath(rng.choice(folders), folders[0]) for _ in range(50)]
    for number, target in enumerate((*TARGETS, *to_folders, *(b"f%d" % rng.randrange(FILES) for _ in range(200)))):
        path = os.path.join(rng.choice(with_files), target if target == b"self" else b"l%d" % number)
        os.symlink(target, path)
        stamp_ns = time_ns(rng)
        os.utime(path, ns=(stamp_ns, stamp_ns), follow_symlinks=False)

    for folder in reversed(folders):
        os.chmod(folder, rng.choice(FOLDER_MODES))
        os.utime(folder, ns=(0, time_ns(rng)))


def assert_identical(one: Path, other: Path) -> None:
    compared = subprocess.run(["diff", "-r", "--no-dereference", one, other], capture_output=True, check=False)
    assert compared.stdout + compared.stderr == b""
    assert compared.returncode == 0
    expected, found = stamps(one), stamps(other)
    differing = [path for path in expected | found if expected.get(path) != found.get(path)]
    assert [(path, expected.get(path), found.get(path)) for path in differing] == []


@pytest.fixture
def place(ram_folder: Path) -> Iterator[Path]:
    """A folder whose contents can be removed whatever their modes."""
    yield ram_folder
    for where, folders, _ in os.walk(ram_folder):
        for name in folders:
            path = os.path.join(where, name)
            if not os.path.islink(path):
                os.chmod(path, 0o700)


def test_a_tree_of_every_kind_of_entry_comes_out_as_it_went_in(program: Program, place: Path) -> None:
    seed = random.getrandbits(32)
    print(f"seed {seed}")
    source = place / "source"
    make_tree(source, random.Random(seed))
    before = stamps(source)
    assert len([stamp for stamp in before.values() if stat.S_ISREG(stamp.mode)]) == FILES
    program("import", "whole", source, "--create")
    assert stamps(source) == before

    program("export", "whole", place / "export")
    assert_identical(source, place / "export")
    assert program.json("import", "whole", place / "export")["commit"] is None

    work = program.checkout("whole", "whole")
    assert_identical(source, work)
    assert program("status", "whole", "--exit-code").stdout == b""
    program("close", "whole")


def test_a_large_file_with_a_hole_comes_out_as_it_went_in(program: Program, place: Path) -> None:
    source = place / "source"
    source.mkdir()
    size_mib = 1024 if FULL_SIZE else 64
    write_mixed(source / "large", size_mib, hole_mib=size_mib // 4)
    os.utime(source / "large", ns=(0, 1_234_567_890_123_456_789))
    program("import", "large", source, "--create")
    program("export", "large", place / "export")
    assert_identical(source, place / "export")
    shutil.rmtree(place / "export")
    assert_identical(source, program.checkout("large", "large"))
    program("close", "large")
