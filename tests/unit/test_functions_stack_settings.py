"""What was set for a stack of functions on this machine reaches each function, as far as it may hold it."""

from __future__ import annotations

from pathlib import Path

import pytest
from manifold_common.errors import ConfigError
from manifold_common.settings import HELD, load_settings
from manifold_common.settings.holders import strays
from manifold_local.functions_stack.deploy import given
from manifold_local.functions_stack.stack import running_functions_stack
from manifold_local.functions_stack.tools import Tools

SET = {
    "PROJECTS_QUOTAS_MAX_FILE_BYTES": "1MiB",
    "SERVER_PATIENCE_SECONDS": "2.5",
    "S3_BULK_DELETE": "false",
    "KAFKA_BROKERS": "a:1,b:2",
    "S3_ACCESS_KEY_ID": "id",
    "S3_SECRET_ACCESS_KEY": "of-the-store",
    "WEBHOOKS_URLS": "https://h/one,https://h/two",
    "WEBHOOKS_SECRET": "of-the-webhooks-of-tests",
    "VAULT_TOKEN_FILE": "token",
}
ELSEWHERE = {"WORKDIR": "/w", "SERVER_PORT": "1", "DATABASE_POOL_MAX": "3", "OPENAI_API_KEY": "k", "AWS_REGION": "r"}
"""Of this machine, of another program, or of no effect."""


@pytest.mark.parametrize("function", HELD)
def test_each_function_is_given_what_was_set_and_no_secret_that_it_must_not_hold(function: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("of-vault")
    settings = load_settings(environ={**SET, **ELSEWHERE}, cwd=tmp_path)
    variables = given(settings, function)
    assert not strays(function, variables)
    assert not ELSEWHERE.keys() & variables.keys()
    there = load_settings(environ=variables, cwd=tmp_path, function=function)
    for key in HELD[function] & {"projects.encryption.vault.token", "projects.events.webhooks.urls"}:
        assert key in there.sources and there.sources[key] != "default"
    assert there.projects.quotas == settings.projects.quotas
    assert there.projects.events.brokers == settings.projects.events.brokers
    assert there.projects.s3.bulk_delete is False
    assert there.server.patience_seconds == 2.5
    assert (there.projects.s3.access_key_id is None) == (function == "fanout")


def test_a_database_that_would_not_be_used_is_refused(tmp_path: Path) -> None:
    environ = {"WORKDIR": str(tmp_path / "work"), "DATABASE_URL": "postgresql://u@h/d"}
    settings = load_settings(environ=environ, cwd=tmp_path)
    stack = running_functions_stack(settings, Tools(tmp_path))
    with pytest.raises(ConfigError, match="variable DATABASE_URL: databaseUrl is set"):
        stack.__enter__()
    assert not (tmp_path / "work").exists()
