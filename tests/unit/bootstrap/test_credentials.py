"""When settings are read again, and what becomes of what they hold."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from manifold_common.adapters.memory.clock import ManualClock
from manifold_common.bootstrap.credentials import SettingsCredentials
from manifold_common.errors import ConfigError
from manifold_common.settings import Aws, Settings, load_settings
from manifold_common.settings.source import PAUSE_SECONDS


class Secret:
    """A secret of AWS, by its fields; ``reads`` counts how often it was opened."""

    def __init__(self, **fields: str) -> None:
        self.fields = fields
        self.reads = 0

    def open(self, name: str, aws: Aws) -> dict[str, str]:
        self.reads += 1
        return dict(self.fields)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def secret() -> Secret:
    return Secret(VAULT_TOKEN="first", REDIS_PASSWORD="first")


@pytest.fixture
def settings(secret: Secret, tmp_path: Path) -> Settings:
    return load_settings(environ={"MANIFOLD_SECRETS_ID": "x"}, cwd=tmp_path, open_secret=secret.open)


def token_of(settings: Settings) -> str:
    token = settings.projects.encryption.vault.token
    assert token is not None
    if token.get_secret_value() == "useless":
        raise ConfigError("of no use")
    return token.get_secret_value()


def password_of(settings: Settings) -> str:
    assert settings.projects.redis.password is not None
    return settings.projects.redis.password.get_secret_value()


def test_what_is_there_instead_is_returned_and_is_the_current_one_from_then_on(
    settings: Settings, secret: Secret, clock: ManualClock
) -> None:
    tokens = SettingsCredentials(settings, token_of, clock)
    assert tokens.current == "first"
    secret.fields["VAULT_TOKEN"] = "second"
    assert tokens.instead_of("first") == "second" == tokens.current
    secret.fields["VAULT_TOKEN"] = "third"
    assert tokens.instead_of("second") == "third", "the look before was not in vain, so that this one need not wait"


def test_after_a_look_in_vain_there_is_none_for_a_while_whoever_asks(
    settings: Settings, secret: Secret, clock: ManualClock
) -> None:
    tokens, passwords = (SettingsCredentials(settings, of, clock) for of in (token_of, password_of))
    assert [tokens.instead_of("first") for _ in range(3)] == [None] * 3
    secret.fields["REDIS_PASSWORD"] = "second"
    assert passwords.instead_of("first") is None
    assert secret.reads == 2
    clock.advance(PAUSE_SECONDS)
    assert passwords.instead_of("first") == "second"
    assert secret.reads == 3


def test_what_one_service_found_out_the_others_know(settings: Settings, secret: Secret, clock: ManualClock) -> None:
    tokens, passwords = (SettingsCredentials(settings, of, clock) for of in (token_of, password_of))
    secret.fields |= {"VAULT_TOKEN": "second", "REDIS_PASSWORD": "second"}
    assert tokens.instead_of("first") == "second"
    assert passwords.current == "second"
    assert passwords.instead_of("first") == "second"
    assert secret.reads == 2


def test_threads_that_are_refused_together_read_once(settings: Settings, secret: Secret, clock: ManualClock) -> None:
    tokens = SettingsCredentials(settings, token_of, clock)
    secret.fields["VAULT_TOKEN"] = "second"
    found: list[str | None] = []
    threads = [threading.Thread(target=lambda: found.append(tokens.instead_of("first"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["second"] * 8 and secret.reads == 2


def test_settings_that_are_of_no_use_change_nothing_and_are_told_of_once(
    settings: Settings, secret: Secret, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = SettingsCredentials(settings, token_of, clock)
    secret.fields["VAULT_TOKEN"] = "useless"
    assert [tokens.instead_of("first") for _ in range(5)] == [None] * 5
    assert tokens.current == "first"
    assert caplog.text.count("of no use") == 1


def test_settings_that_cannot_be_read_change_nothing_and_show_no_secret(
    settings: Settings, secret: Secret, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = SettingsCredentials(settings, token_of, clock)
    secret.fields |= {"DATABASE_URL": "mysql://root:hunter2@db/x", "VAULT_TOKEN": "second"}
    assert tokens.instead_of("first") is None
    assert "secret (DATABASE_URL): databaseUrl: must be" in caplog.text and "hunter2" not in caplog.text
    del secret.fields["DATABASE_URL"]
    clock.advance(PAUSE_SECONDS)
    assert tokens.instead_of("first") == "second"


def test_copies_of_settings_are_read_again_too_and_settings_made_in_code_never_are(
    settings: Settings, secret: Secret, clock: ManualClock
) -> None:
    secret.fields["VAULT_TOKEN"] = "second"
    copied = SettingsCredentials(settings.model_copy(update={"log_level": "debug"}), token_of, clock)
    assert copied.instead_of("first") == "second"
    made = SettingsCredentials(Settings(), lambda settings: settings.log_level, clock)
    assert made.instead_of("info") is None
