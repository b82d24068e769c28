"""The containers of all functions: one that is free is taken again, and else there is one more.

Code is unpacked once for each version of a function and of a layer, and never written to again.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifold_local.lambda_service.container import Code, Container, Outcome
from manifold_local.lambda_service.limits import IDLE_SECONDS
from manifold_local.lambda_service.runtime_api import Invocation

_EXECUTION_ENV = f"AWS_Lambda_python{sys.version_info.major}.{sys.version_info.minor}"
_OF_A_VERSION = (
    "CodeSha256", "Environment", "EphemeralStorage", "Handler", "Layers", "LoggingConfig", "MemorySize", "Timeout",
    "Version",
)  # fmt: skip


@dataclass(frozen=True)
class Places:
    """Args: ``runtime``: the folder of Lambda's runtime client."""

    python: Path
    runtime: Path
    code: Path
    disk: Path
    ram: Path
    endpoint: str


@dataclass(frozen=True)
class Function:
    """A function as it is deployed. Args: ``layers``: by a name that no other content has."""

    config: Mapping[str, Any]
    code: bytes
    layers: Mapping[str, Callable[[], bytes]]
    region: str
    credentials: Mapping[str, str]

    @property
    def name(self) -> str:
        return str(self.config["FunctionName"])

    @property
    def timeout_seconds(self) -> float:
        return float(self.config.get("Timeout") or 3)

    def version(self) -> str:
        """Return what makes its containers unlike those of before."""
        facts = {name: self.config.get(name) for name in _OF_A_VERSION}
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


class Pool:
    """Safe for threads."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._lock = threading.Lock()
        self._unpacking = threading.Lock()
        self._free: dict[tuple[str, str], list[Container]] = {}

    def invoke(self, function: Function, invocation: Invocation) -> Outcome:
        key = (function.name, function.version())
        container = self._taken(key) or self._new(function)
        outcome = container.invoke(invocation, function.timeout_seconds)
        if outcome.is_usable:
            with self._lock:
                self._free.setdefault(key, []).append(container)
        else:
            container.stop()
        return outcome

    def close(self) -> None:
        """End the containers that are free."""
        with self._lock:
            free = [one for containers in self._free.values() for one in containers]
            self._free.clear()
        for one in free:
            one.stop()

    def _taken(self, key: tuple[str, str]) -> Container | None:
        """Return a free container, and end those that nobody needs: idle for long, or of another version."""
        oldest = time.monotonic() - IDLE_SECONDS
        with self._lock:
            taken = self._free[key].pop() if self._free.get(key) else None
            unneeded = []
            for other, containers in self._free.items():
                replaced = other[0] == key[0] and other != key
                gone = [one for one in containers if replaced or one.idle_since < oldest]
                unneeded += gone
                containers[:] = [one for one in containers if one not in gone]
        for one in unneeded:
            one.stop()
        return taken

    def _new(self, function: Function) -> Container:
        places, config = self._places, function.config
        root = self._unpacked(hashlib.sha256(function.code).hexdigest(), lambda: function.code)
        layers = [
            self._unpacked(hashlib.sha256(name.encode()).hexdigest(), get) for name, get in function.layers.items()
        ]
        paths = [root, *(layer / "python" for layer in layers), places.runtime]
        code = Code(places.python, str(config["Handler"]), paths)
        return Container(function.name, code, self._environ(function), places.disk, places.ram)

    def _environ(self, function: Function) -> dict[str, str]:
        config = function.config
        log = config.get("LoggingConfig") or {}
        now = time.strftime("%Y/%m/%d", time.gmtime())
        version = str(config.get("Version", "$LATEST"))
        found = {
            "PATH": os.defpath,
            "LANG": "C.UTF-8",
            "TZ": ":UTC",
            "AWS_REGION": function.region,
            "AWS_DEFAULT_REGION": function.region,
            "AWS_EXECUTION_ENV": _EXECUTION_ENV,
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            "AWS_LAMBDA_FUNCTION_VERSION": version,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(config.get("MemorySize", 128)),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": log.get("LogGroup") or f"/aws/lambda/{function.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": f"{now}/[{version}]{os.urandom(16).hex()}",
            "LAMBDA_RUNTIME_DIR": str(self._places.runtime),
            "_HANDLER": str(config["Handler"]),
            **{name: value for name, value in function.credentials.items() if value},
        }
        if log.get("LogFormat") == "JSON":
            found |= {"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": log.get("ApplicationLogLevel") or "INFO"}
        given = (config.get("Environment") or {}).get("Variables") or {}
        return {
            "AWS_ENDPOINT_URL": self._places.endpoint,
            **{name: str(value) for name, value in given.items()},
            **found,
        }

    def _unpacked(self, name: str, content: Callable[[], bytes]) -> Path:
        """Return the folder of a package: unpacked by whoever comes first, and whole as soon as it is there."""
        folder = self._places.code / name
        with self._unpacking:
            if not folder.exists():
                made = Path(tempfile.mkdtemp(prefix="unpacking-", dir=self._places.code))
                try:
                    with zipfile.ZipFile(io.BytesIO(content())) as package:
                        package.extractall(made)
                    for path in made.rglob("*"):
                        path.chmod(0o555 if path.is_dir() else 0o444)
                    made.chmod(0o555)
                    made.rename(folder)
                except BaseException:
                    shutil.rmtree(made, ignore_errors=True)
                    raise
        return folder
