"""What a function loads, imported and after it has served: no client and no framework that it does not use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.emulator import ROOT, SOURCES
from tests.support.functions import function_variables, sample

pytestmark = pytest.mark.slow

NAMES = sorted(path.parent.name for path in ROOT.glob("functions/*/handler.py"))
CLIENTS = {"boto3", "botocore.session", "hvac", "kafka", "redis", "requests", "psycopg", "obstore"}
FRAMEWORKS = {"fastapi", "starlette", "mangum", "uvicorn"}
NEVER = {
    "manifold_local", "manifold_common.adapters.memory", "manifold_common.services.upkeep.store_check",
    "manifold_common.settings.yamlfile", "yaml", "aws_xray_sdk",
}  # fmt: skip
EVENTS: dict[str, Any] = {
    "api": sample("http-get"),
    "checkout": {"project": "absent"},
    "commit": {"project": "absent", "changes": [{"op": "delete", "path": "a"}]},
    "fanout": {},
    "reencrypt": {},
    "maintenance": {},
}

_IMPORT = "import sys, json, importlib; importlib.import_module(sys.argv[1]); print(json.dumps(sorted(sys.modules)))"
_SERVE = """
import sys, json, importlib
from tests.support.functions import FakeContext
handler = importlib.import_module(sys.argv[1]).handler
before = set(sys.modules)
try:
    handler(json.loads(sys.argv[2]), FakeContext())
except Exception as error:
    assert type(error).__name__ == "not_found", error
print(json.dumps(sorted(sys.modules)))
"""


def modules(code: str, *arguments: str, **variables: str) -> set[str]:
    environ = {"PYTHONPATH": ":".join(map(str, SOURCES)), **variables}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environ, capture_output=True, text=True, timeout=60, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_there_are_six_functions() -> None:
    assert sorted(EVENTS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_importing_a_handler_loads_no_client(name: str) -> None:
    loaded = modules(_IMPORT, f"functions.{name}.handler")
    assert loaded & (CLIENTS | NEVER) == set()
    assert (loaded & FRAMEWORKS == set()) is (name != "api")
    assert {module.split(".")[1] for module in loaded if module.startswith("functions.")} == {name, "invocation"}


@pytest.mark.parametrize("name", NAMES)
def test_importing_a_handler_loads_neither_settings_nor_adapters_nor_parts_of_the_api(name: str) -> None:
    loaded = modules(_IMPORT, f"functions.{name}.handler")
    late = ("manifold_common.settings", "manifold_common.adapters", "functions.api.routes", "functions.api.pages")
    assert [module for module in loaded if module.startswith(late)] == []
    assert name == "api" or "pydantic" not in loaded


SERVICES = {
    "api": {"projects.projects"},
    "checkout": {"sessions.sessions", "projects.projects"},
    "commit": {"projects.edits", "projects.projects", "publish"},
    "fanout": {"events.events", "events.relay"},
    "reencrypt": {"jobs.jobs", "jobs.worker", "keys.rewrap", "keys.rotation", "projects.projects"},
}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_function_loads_the_services_that_it_uses_and_no_others(name: str, postgres_dsn: str, tmp_path: Path) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    loaded = modules(
        _SERVE, f"functions.{name}.handler", json.dumps(EVENTS[name]), **function_variables(folder, postgres_dsn)
    )
    services = {"direct.plans", "direct.session_plans", "direct.uploads", "events.events", "events.relay",
                "jobs.jobs", "jobs.worker", "keys.rewrap", "keys.rotation",
                "projects.edits", "projects.forks", "projects.history", "projects.projects",
                "projects.transfer", "publish", "remote", "sessions.commit", "sessions.sessions",
                "upkeep.maintenance", "verification.scrub", "verification.verify"}  # fmt: skip
    assert {one for one in services if f"manifold_common.services.{one}" in loaded} == SERVICES[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_function_that_has_served_has_loaded_the_client_of_its_database_and_none_that_is_not_configured(
    name: str, postgres_dsn: str, tmp_path: Path
) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    # The helper of this test itself loads pytest; what that brings is not looked for.
    loaded = modules(
        _SERVE, f"functions.{name}.handler", json.dumps(EVENTS[name]), **function_variables(folder, postgres_dsn)
    )
    assert loaded & CLIENTS == {"psycopg", "obstore"} & loaded
    assert "psycopg" in loaded
    assert loaded & (NEVER - {"manifold_local"} | (FRAMEWORKS if name != "api" else set())) == set()


@pytest.mark.parametrize(
    ("variables", "client"),
    [
        ({"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_TOKEN": "t"}, "hvac"),
        ({"REDIS_ENABLED": "true"}, "redis"),
        ({"KAFKA_ENABLED": "true", "KAFKA_BROKERS": "127.0.0.1:1"}, "kafka"),
        ({"AWSKMS_KEY_ID": "alias/x", "AWS_REGION": "eu-central-1"}, "boto3"),
    ],
)
def test_a_client_that_is_configured_is_not_loaded_before_it_is_used(
    variables: dict[str, str], client: str, postgres_dsn: str, tmp_path: Path
) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    found = function_variables(folder, postgres_dsn, **variables)
    loaded = modules(_SERVE, "functions.checkout.handler", json.dumps(EVENTS["checkout"]), **found)
    assert client not in loaded


_STORE = """
import sys, json
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.bootstrap.adapters import aws_account
from manifold_common.bootstrap.stores import build_links, build_store
from manifold_common.errors import StoreUnavailable
from manifold_common.settings import load_settings
settings = load_settings()
assert aws_account(settings.aws).keys().access_key_id == "key"
assert build_links(settings, SystemClock()).to_read(["k"], seconds=60)
try:
    build_store(settings, SystemClock(), SystemRandomness()).get("k", max_bytes=1)
except StoreUnavailable:
    pass
print(json.dumps(sorted(sys.modules)))
"""


def test_credentials_that_lambda_gives_are_used_without_an_sdk() -> None:
    of_lambda = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "token"}
    of_store = {"PROJECTS_BACKEND": "s3", "S3_BUCKET": "b", "S3_ENDPOINT": "http://127.0.0.1:1", "S3_MAX_RETRIES": "0"}
    loaded = modules(_STORE, S3_USE_PATH_STYLE="true", **of_lambda, **of_store)
    assert "obstore" in loaded
    assert loaded & {"boto3", "botocore"} == set()
