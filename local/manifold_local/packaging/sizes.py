"""How large artifacts are, package by package, against what Lambda allows."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

MIB = 1 << 20
UNPACKED_LIMIT_BYTES = 250 * MIB
"""Of Lambda: a function with all its layers."""
LAYER_BUDGET_BYTES = 120 * MIB
"""Of ours: more would be a surprise to look into."""


@dataclass(frozen=True)
class Size:
    """Of a folder: as it lies there, and as it is in a zip file."""

    unpacked_bytes: int
    zipped_bytes: int


def size_of(folder: Path) -> Size:
    counted = _Counter()
    with zipfile.ZipFile(cast(BinaryIO, counted), "w", zipfile.ZIP_DEFLATED) as archive:
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        for path in files:
            archive.write(path, path.relative_to(folder))
    return Size(sum(path.stat().st_size for path in files), counted.written)


def packages(folder: Path) -> list[tuple[str, int]]:
    """Return the unpacked size of each package in a folder of modules, largest first."""
    found: dict[str, int] = {}
    for path in folder.rglob("*"):
        if path.is_file():
            name = path.relative_to(folder).parts[0].removesuffix(".libs").split("-")[0]
            found[name] = found.get(name, 0) + path.stat().st_size
    return sorted(found.items(), key=lambda item: (-item[1], item[0]))


def report(build: Path) -> list[str]:
    """Print the sizes of what ``sam build`` has made; return what is wrong with them."""
    artifacts = sorted(
        path for path in build.iterdir() if any((path / part).is_dir() for part in ("python", "functions"))
    )
    layers = [path for path in artifacts if (path / "python").is_dir()]
    wrong = []
    for artifact in artifacts:
        size = size_of(artifact)
        print(f"{artifact.name:24} {size.unpacked_bytes / MIB:7.1f} MiB  zipped {size.zipped_bytes / MIB:6.1f} MiB")
        for name, count in packages(artifact / "python" if artifact in layers else artifact):
            print(f"    {name:28} {count / MIB:8.2f} MiB")
        if next(artifact.rglob("*.pyc"), None) is None:
            print("    without bytecode: no Python of the target's version was found; cold starts take longer")
        if artifact in layers and size.unpacked_bytes > LAYER_BUDGET_BYTES:
            wrong.append(f"{artifact.name} has {size.unpacked_bytes} bytes; the budget is {LAYER_BUDGET_BYTES}")
        below = 0 if artifact in layers else sum(size_of(layer).unpacked_bytes for layer in layers)
        if size.unpacked_bytes + below > UNPACKED_LIMIT_BYTES:
            wrong.append(f"{artifact.name} and its layers have more than Lambda's {UNPACKED_LIMIT_BYTES} bytes")
    return wrong


class _Counter:
    """A file that is only counted."""

    def __init__(self) -> None:
        self.written = 0

    def write(self, data: bytes) -> int:
        self.written += len(data)
        return len(data)

    def tell(self) -> int:
        return self.written

    def flush(self) -> None:
        pass
