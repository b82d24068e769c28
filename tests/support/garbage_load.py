"""Where processes work at once on one catalog and one store that fails, and what they put on record.

Every file says which content it is, so that any generation proves itself.
"""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.bootstrap import Manifold, assemble, build_catalog, build_key_providers, build_store
from manifold_common.errors import StoreUnavailable
from manifold_common.ports.clock import Clock
from manifold_common.settings import load_settings

SLOTS, CONTENTS = 6, 24
PACKED_SHARE = 0.15
FAILING_SHARE = 0.003
"""Of a process's requests of the store."""
LONGEST_SECONDS = 8.0
"""That one takes: long enough for what it was about to refer to to be condemned, and removed."""
HEADER_BYTES = 8


def content(number: int) -> bytes:
    """Return content that says which it is. Some is more than travels inside a commit object."""
    size = (2 << 20) + 70_000 if number % CONTENTS < CONTENTS * PACKED_SHARE else 200 + 300 * (number % CONTENTS)
    return number.to_bytes(HEADER_BYTES, "big") + random.Random(number).randbytes(size)


@dataclass(frozen=True)
class Place:
    """Where the servers are, and the folder for everything else. Args: ``variables``: settings of the store."""

    dsn: str
    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    def node(self, name: str, fails: float = 0.0, clock: Clock | None = None) -> Manifold:
        clock, randomness = clock or SystemClock(), SystemRandomness()
        environ = {
            "WORKDIR": str(self.folder),
            "PROJECTS_ENCRYPT": "true",
            "PROJECTS_RESUMABLE_UPLOADS_MAX_PER_PROJECT": "100000",
            "PROJECTS_RESUMABLE_UPLOADS_MAX_PER_TENANT": "100000",
            "PROJECTS_WORKSPACE_MODE": "ephemeral",
            "PROJECTS_WORKSPACE_TMPFS_DIR": str(self.folder / f"ram-{name}"),
            "PROJECTS_WORKSPACE_CACHE_DIR": str(self.folder / f"cache-{name}"),
            **self.variables,
        }
        settings = load_settings(environ=environ, cwd=self.folder)
        store = build_store(settings, clock, randomness)
        return assemble(
            settings,
            catalog=build_catalog(settings, self.dsn, clock),
            store=Unsure(store, fails) if fails else store,  # type: ignore[arg-type]
            providers=build_key_providers(settings, clock, randomness),
            clock=clock,
            randomness=randomness,
        )

    def wipe(self, name: str) -> None:
        for one in (f"ram-{name}", f"cache-{name}"):
            shutil.rmtree(self.folder / one, ignore_errors=True)


class Unsure:
    """A store of whose requests some fail, before or after they have done their work, and some take long."""

    def __init__(self, inner: Any, share: float) -> None:
        self._inner, self._share, self._dice = inner, share, random.Random()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in ("put", "get", "get_ranges", "head", "delete"):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            if self._dice.random() < self._share:
                time.sleep(self._dice.random() * LONGEST_SECONDS)
            if self._dice.random() < self._share:
                raise StoreUnavailable(f"{name} failed, as planned")
            answer = found(*args, **kwargs)
            if self._dice.random() < self._share:
                raise StoreUnavailable(f"the answer to {name} was lost, as planned")
            return answer

        return call


class Journal:
    """What a process was about to do, and what it was told of, line by line."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / f"{name}.journal"
        self._file = open(self._path, "a", buffering=1)  # noqa: SIM115

    def note(self, what: str, **more: object) -> None:
        self._file.write(json.dumps({"what": what, **more}) + "\n")

    def close(self) -> None:
        self._file.close()

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield what was noted so far, also by those who had the name before."""
        return _lines(self._path)


def read_journals(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*.journal")):
        yield from _lines(path)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text().splitlines():
        with suppress(ValueError):  # one whose writer was killed
            yield json.loads(line)
