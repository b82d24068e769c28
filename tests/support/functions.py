"""A function's container in this process: its variables, its handler, a context as Lambda gives one."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from manifold_common.bootstrap import Manifold

from functions.invocation import entry
from functions.invocation.container import CONTAINER

EVENTS = Path(__file__).parents[2] / "events"


def sample(name: str, **changes: Any) -> dict[str, Any]:
    """Return ``events/<name>.json`` with some of its fields replaced; ``None`` removes one."""
    event = json.loads((EVENTS / f"{name}.json").read_text()) | changes
    return {key: value for key, value in event.items() if value is not None}


@dataclass
class FakeContext:
    """What Lambda says of an invocation."""

    aws_request_id: str = "8f5078b4-2f6c-4d7f-a0a1-6f1ab0a6d2b3"
    milliseconds: int = 30_000
    function_name: str = "test"
    tenant_id: str | None = None

    def get_remaining_time_in_millis(self) -> int:
        return self.milliseconds


@dataclass
class Function:
    """A function in a container of its own, which all functions of a test share."""

    variables: dict[str, str]
    folder: Path
    invocations: int = field(default=0)

    @property
    def manifold(self) -> Manifold:
        """The container's services."""
        return CONTAINER.manifold

    def __call__(self, name: str, event: Any, **context: Any) -> Any:
        """Invoke the function ``name``; its answer has been through JSON, as Lambda sends it."""
        handler = importlib.import_module(f"functions.{name}.handler").handler
        answer = handler(json.loads(json.dumps(event)), FakeContext(**context))
        self.invocations += 1
        return json.loads(json.dumps(answer))


MakeFunction = Callable[..., Function]


def function_variables(folder: Path, dsn: str, **variables: str) -> dict[str, str]:
    """Return what a function's environment has, below ``folder`` instead of ``/tmp``."""
    return {
        "AWS_LAMBDA_FUNCTION_NAME": "manifold-test",
        "DATABASE_URL": dsn,
        "WORKDIR": str(folder / "manifold"),
        "PROJECTS_WORKSPACE_TMPFS_DIR": str(folder / "sets"),
        "PROJECTS_FILESYSTEM_ROOT": str(folder.parent / "store"),
        "PROJECTS_ENCRYPTION_FILE_KEYSTORE_PATH": str(folder.parent / "keystore"),
        "PROJECTS_ENCRYPT": "true",
        **variables,
    }


@pytest.fixture
def _event_loop() -> Iterator[None]:
    """The loop that the API's adapter takes for this thread's own, and that nobody would close."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    loop.run_until_complete(loop.shutdown_default_executor())
    asyncio.set_event_loop(None)
    loop.close()


@pytest.fixture
def make_function(
    _event_loop: None, tmp_path: Path, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MakeFunction]:
    """Return a function that gives a fresh container; settings by variable name."""
    for name in list(os.environ):
        if name.startswith(("PROJECTS_", "AWS_", "S3_", "VAULT_", "KAFKA_", "REDIS_", "FUNCTIONS_")):
            monkeypatch.delenv(name)

    def make(**variables: str) -> Function:
        CONTAINER.close()
        entry.forget_starts()
        folder = tmp_path / "tmp"
        folder.mkdir(exist_ok=True)
        found = function_variables(folder, postgres_dsn, **variables)
        for name, value in found.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(folder)
        return Function(found, folder)

    yield make
    CONTAINER.close()


@pytest.fixture
def function(make_function: MakeFunction) -> Function:
    """A function with encryption on, its keys in files, its store in a folder."""
    return make_function()


def printed(lines: str) -> list[dict[str, Any]]:
    """Return the JSON lines of a function's log."""
    return [json.loads(line) for line in lines.splitlines() if line.startswith("{")]


def metrics_of(lines: str) -> Mapping[str, float]:
    """Return what a function's log measures."""
    found: dict[str, float] = {}
    for line in printed(lines):
        for group in line.get("_aws", {}).get("CloudWatchMetrics", []):
            for metric in group["Metrics"]:
                found[metric["Name"]] = line[metric["Name"]][0]
    return found
