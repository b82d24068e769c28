"""Which installation is meant: what is named, else the one server that runs, with all that it needs."""

from __future__ import annotations

from pathlib import Path

import pytest
from manifold_common.errors import ConfigError, InvalidInput
from manifold_local.handover import Handover
from manifold_local.running import RunningServer, noted
from manifold_local.which_installation import find_settings

URL = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def nothing_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORKDIR", "DATABASE_URL", "MANIFOLD_CONFIG", "MANIFOLD_REMOTE", "VAULT_TOKEN", "S3_BUCKET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def server(workdir: str, secrets: dict[str, str] | None = None, **variables: str) -> RunningServer:
    return RunningServer(URL, Handover({"WORKDIR": workdir, **variables}, secrets or {}))


def test_the_settings_of_the_server_count_before_those_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3_BUCKET", "of-the-shell")
    with noted(server("/one", S3_BUCKET="of-the-server")):
        settings, found = find_settings(None, {})
    assert found is not None and found.workdir == "/one"
    assert (str(settings.workdir), settings.projects.s3.bucket) == ("/one", "of-the-server")


@pytest.mark.parametrize("named", [{"WORKDIR": "/two"}, {"DATABASE_URL": "postgresql://localhost/x"}])
def test_what_is_named_is_meant(monkeypatch: pytest.MonkeyPatch, named: dict[str, str]) -> None:
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    with noted(server("/one")):
        settings, found = find_settings(None, {})
    assert found is None and str(settings.workdir) != "/one"


def test_nobody_guesses_between_several() -> None:
    with noted(server("/one")), noted(server("/it's two")), pytest.raises(InvalidInput) as caught:
        find_settings(None, {})
    assert "/one" in caught.value.message and "/it's two" in caught.value.message
    assert (caught.value.hint or "").endswith("""export WORKDIR='/it'"'"'s two'""")


def test_a_secret_that_the_server_has_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with noted(server("/one", {"VAULT_TOKEN": "projects.encryption.vault.token"})):
        with pytest.raises(ConfigError, match="VAULT_TOKEN") as caught:
            find_settings(None, {})
        assert URL in caught.value.message
        monkeypatch.setenv("VAULT_TOKEN", "x")
        assert find_settings(None, {})[1] is not None


def test_a_tree_that_looks_like_an_installation_is_not_taken_for_one(tmp_path: Path) -> None:
    for name in (".manifold/.postgres/data", ".postgres/data"):
        (tmp_path / name).mkdir(parents=True)
    settings, found = find_settings(None, {})
    assert found is None and not settings.workdir.is_relative_to(tmp_path)
