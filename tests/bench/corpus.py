"""Trees to measure on: real source files from packages pinned by hash, laid out the same way each time.

The packages are downloaded once, with pip, into the git-ignored folder ``.bench``. The tree is the first 10,000 files
of all of them by path, with fixed times, so that two runs measure the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("MANIFOLD_BENCH_DIR") or HERE.parents[1] / ".bench")
FILES = 10_000
MTIME = 1_700_000_000
DOWNLOAD_SECONDS = 300
_EDITS_SEED = 20


class CorpusMissing(RuntimeError):
    """The packages cannot be had."""


def fetch(requirements: str, folder: Path, *extra: str) -> list[Path]:
    """Download the pinned packages of ``requirements`` unless they are there; return the archives, by name."""
    listed = (HERE / requirements).read_bytes()
    done = folder / f"complete-{hashlib.sha256(listed).hexdigest()[:16]}"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        command += ["--only-binary", ":all:", *extra, "-d", str(folder), "-r", str(HERE / requirements)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            said = (error.stderr or "") if isinstance(error, subprocess.CalledProcessError) else "it took too long"
            raise CorpusMissing(
                f"the packages of tests/bench/{requirements} cannot be downloaded: {said.strip()[-400:]}\n"
                f"Make a package index reachable for pip, or put the archives into {folder} by hand (their hashes are "
                "in that file) and run again."
            ) from None
        done.touch()
    return sorted(folder.glob("*.whl"))


def source_files() -> list[tuple[str, bytes]]:
    """Return (path, content) of the 10,000 files, by path. Raises CorpusMissing."""
    universal = ("--python-version", "3.11", "--platform", "any", "--implementation", "py", "--abi", "none")
    found: list[tuple[str, bytes]] = []
    for archive in fetch("corpus.txt", CACHE / "packages", *universal):
        top = archive.name.split("-")[0]
        with zipfile.ZipFile(archive) as opened:
            found += [(f"{top}/{item.filename}", opened.read(item)) for item in opened.infolist() if not item.is_dir()]
    found.sort()
    if len(found) < FILES:
        raise CorpusMissing(f"the packages hold only {len(found)} files; remove {CACHE} and run again")
    return found[:FILES]


def write_tree(folder: Path, files: list[tuple[str, bytes]], *, copies: int = 1) -> int:
    """Write the files below a new ``folder``; return their bytes.

    With more than one copy, each lies in a folder of its own and each file ends in a line that names its copy, so that
    no two copies share a chunk.
    """
    total = 0
    for copy in range(copies):
        base = folder / f"copy{copy}" if copies > 1 else folder
        tail = b"\n# copy %d\n" % copy if copies > 1 else b""
        made: set[str] = set()
        for path, content in files:
            target = f"{base}/{path}"
            parent = target.rpartition("/")[0]
            if parent not in made:
                os.makedirs(parent, exist_ok=True)
                made.add(parent)
            with open(target, "wb", buffering=0) as file:
                file.write(content + tail)
            os.utime(target, (MTIME, MTIME))
            total += len(content) + len(tail)
    return total


def write_big_files(folder: Path, files: list[tuple[str, bytes]], size: int) -> None:
    """Write ``noise`` (incompressible) and ``text`` (real source files, shuffled and joined), of ``size`` bytes each.

    Each round through the source files is in another order and each line of it is marked, so that no chunk of the
    text repeats.
    """
    folder.mkdir(parents=True)
    rng = random.Random(_EDITS_SEED)
    with open(folder / "noise.bin", "wb", buffering=0) as file:
        for _ in range(size >> 20):
            file.write(rng.randbytes(1 << 20))
    texts = [content for path, content in files if path.endswith((".py", ".pyi", ".txt", ".po", ".rst", ".js"))]
    with open(folder / "text.txt", "wb") as out:
        written = round_number = 0
        while written < size:
            rng.shuffle(texts)
            for content in texts:
                piece = content.replace(b"\n", b"\t%d\n" % round_number)[: size - written]
                out.write(piece)
                written += len(piece)
            round_number += 1


def edit_files(folder: Path, paths: list[str], stamp: int) -> None:
    """Append a line to each file."""
    for path in paths:
        with open(folder / path, "ab", buffering=0) as file:
            file.write(b"# edit %d\n" % stamp)


def some_paths(files: list[tuple[str, bytes]], count: int, seed: int) -> list[str]:
    """Return ``count`` paths spread over the tree, the same for the same seed."""
    return sorted(random.Random(seed).sample([path for path, _ in files], count))
