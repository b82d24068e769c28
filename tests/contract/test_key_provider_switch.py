"""Changing the provider in the settings strands no project. Wired as the program wires it."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from manifold_common.adapters.memory.catalog import MemoryCatalog
from manifold_common.adapters.memory.object_store import MemoryObjectStore
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.bootstrap import Manifold, assemble, build_key_providers
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.errors import ConfigError, KeyUnavailable
from manifold_common.ids import ProjectId
from manifold_common.services.projects.edits import PutFile
from manifold_common.settings import load_settings

from tests.support.kms import REGION, MotoKms
from tests.support.manifold import settings_for
from tests.support.openbao import OpenBao
from tests.support.s3_proxy import running_proxy

Start = Callable[..., Manifold]


@pytest.fixture
def start(tmp_path: Path, ram_folder: Path) -> Iterator[Start]:
    """Return a function that starts Manifold anew over the same catalog and store, with the given variables set."""
    clock, randomness = SystemClock(), SystemRandomness()
    catalog, store = MemoryCatalog(clock=clock), MemoryObjectStore(clock)
    built: list[Manifold] = []

    def make(**variables: str) -> Manifold:
        settings = settings_for(tmp_path, ram_folder, **variables)
        providers = build_key_providers(settings, clock, randomness)
        made = assemble(settings, catalog=catalog, store=store, providers=providers, clock=clock, randomness=randomness)
        built.append(made)
        return made

    yield make
    for made in built:
        made.context.workers.close()


def vault_settings(server: OpenBao | str, token: str, mount: str) -> dict[str, str]:
    url = server if isinstance(server, str) else server.url
    return {"VAULT_ADDR": url, "VAULT_TOKEN": token, "VAULT_MOUNT_PATH": mount, "VAULT_KEY_NAME": "manifold-kek"}


def make_project(manifold: Manifold, name: str) -> ProjectId:
    project = manifold.projects.create(LOCAL_PRINCIPAL, name).id
    manifold.edits.apply(LOCAL_PRINCIPAL, project, [PutFile(b"file", io.BytesIO(name.encode()).readinto)])
    return project


def content_of(manifold: Manifold, project: ProjectId, folder: Path) -> str:
    manifold.transfer.export(LOCAL_PRINCIPAL, project, folder)
    return (folder / "file").read_text()


def provider_of(manifold: Manifold, project: ProjectId) -> str:
    return manifold.context.catalog.project_keys(LOCAL_PRINCIPAL.tenant, project)[0].wrapped.provider


def test_projects_open_under_every_provider_that_was_ever_set(
    openbao: OpenBao, transit_mount: str, moto_kms: MotoKms, start: Start, tmp_path: Path
) -> None:
    openbao.make_key("manifold-kek", transit_mount, derived=True)
    moto_kms.key("switched")
    vault = vault_settings(openbao, openbao.root_token, transit_mount)
    kms = {"AWSKMS_KEY_ID": "alias/switched", "AWSKMS_REGION": REGION, "AWSKMS_ENDPOINT": moto_kms.url}
    projects: dict[str, ProjectId] = {}
    for provider, variables in (("file", {}), ("vault", vault), ("awskms", vault | kms), ("file", vault | kms)):
        manifold = start(PROJECTS_ENCRYPTION_PROVIDER=provider, **variables)
        name = f"{provider}-{len(projects)}"
        projects[name] = make_project(manifold, name)
        assert provider_of(manifold, projects[name]) == provider
        for old, project in projects.items():
            assert content_of(manifold, project, tmp_path / f"out-{len(projects)}-{old}") == old


def test_without_the_settings_of_its_provider_a_project_says_which_are_missing(
    openbao: OpenBao, transit_mount: str, start: Start, tmp_path: Path
) -> None:
    openbao.make_key("manifold-kek", transit_mount, derived=True)
    variables = vault_settings(openbao, openbao.root_token, transit_mount)
    project = make_project(start(PROJECTS_ENCRYPTION_PROVIDER="vault", **variables), "demo")
    with pytest.raises(KeyUnavailable, match="'vault', which is not configured"):
        content_of(start(), project, tmp_path / "out")


def test_a_process_asks_vault_once_for_a_project_however_often_it_is_read(
    openbao: OpenBao, transit_mount: str, start: Start, tmp_path: Path
) -> None:
    openbao.make_key("manifold-kek", transit_mount, derived=True)
    with running_proxy(openbao.url) as proxy:
        variables = vault_settings(proxy.url, openbao.root_token, transit_mount)
        project = make_project(start(PROJECTS_ENCRYPTION_PROVIDER="vault", **variables), "demo")
        manifold = start(PROJECTS_ENCRYPTION_PROVIDER="vault", **variables)
        proxy.seen.clear()
        for number in range(3):
            content_of(manifold, project, tmp_path / f"out-{number}")
        opened = [seen.path for seen in proxy.seen if "/decrypt/" in seen.path]
        assert len(opened) == 1
        assert len(proxy.seen) == 2, "and one request to learn the life of the token"


@pytest.mark.parametrize(
    "variables",
    [
        {"VAULT_ADDR": "http://127.0.0.1:1"},
        {"VAULT_TOKEN": "t"},
        {"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_AUTH_METHOD": "approle", "VAULT_AUTH_ROLE_ID": "r"},
        {"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_AUTH_METHOD": "kubernetes"},
        {"AWSKMS_REGION": REGION},
    ],
    ids=lambda variables: "+".join(variables),
)
def test_a_provider_that_lacks_a_setting_is_left_out(tmp_path: Path, variables: dict[str, str]) -> None:
    settings = load_settings(environ={"WORKDIR": str(tmp_path), **variables}, cwd=tmp_path)
    assert list(build_key_providers(settings, SystemClock(), SystemRandomness())) == ["file"]


@pytest.mark.parametrize(
    "variables",
    [
        {"VAULT_TOKEN": "t"},
        {"VAULT_AUTH_METHOD": "approle", "VAULT_AUTH_ROLE_ID": "r", "VAULT_AUTH_SECRET_ID": "s"},
        {"VAULT_AUTH_METHOD": "kubernetes", "VAULT_AUTH_ROLE": "manifold"},
    ],
    ids=lambda variables: variables.get("VAULT_AUTH_METHOD", "token"),
)
def test_every_way_to_sign_in_can_be_set(tmp_path: Path, variables: dict[str, str]) -> None:
    environ = {"WORKDIR": str(tmp_path), "VAULT_ADDR": "http://127.0.0.1:1", **variables}
    providers = build_key_providers(load_settings(environ=environ, cwd=tmp_path), SystemClock(), SystemRandomness())
    assert list(providers) == ["file", "vault"]


def test_a_wrong_name_is_refused_at_the_start(start: Start) -> None:
    with pytest.raises(ConfigError, match="keyName"):
        start(VAULT_ADDR="http://127.0.0.1:1", VAULT_TOKEN="t", VAULT_KEY_NAME="a/b")


def test_no_client_is_loaded_before_its_provider_is_used(tmp_path: Path) -> None:
    """Each costs a start of the program 0.1 to 0.3 seconds."""
    program = """
import sys
from pathlib import Path
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.bootstrap import build_key_providers
from manifold_common.services.projects.edits import PutFile
from manifold_common.settings import load_settings
environ = {"WORKDIR": sys.argv[1], "VAULT_ADDR": "http://127.0.0.1:1", "VAULT_TOKEN": "t", "AWSKMS_KEY_ID": "alias/k"}
providers = build_key_providers(
    load_settings(environ=environ, cwd=Path(sys.argv[1])), SystemClock(), SystemRandomness())
print(sorted(providers), sorted({"hvac", "requests", "boto3", "botocore"} & set(sys.modules)))
"""
    shown = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout
    assert shown == "['awskms', 'file', 'vault'] []\n"
