"""The compose files, as Compose reads them from the top of the repository: names and ports of the guide, pinned images,
bounds, checks, and settings that are valid and complete."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifold_common.settings import Settings, describe_settings, load_settings

from tests.support.compose import (
    ENTERPRISE,
    LOCALSTACK,
    SCALE,
    SCALE_UPON_ENTERPRISE,
    SECRETS,
    SIMPLE,
    STACKS,
    Compose,
)
from tests.support.templates import ROOT

PLACE = ROOT / "local" / "compose"
NOT_PASSED: dict[str, str] = yaml.safe_load((PLACE / "base.yml").read_text())["x-not-passed"]
OF_ENTERPRISE: dict[str, Any] = yaml.safe_load((PLACE / "base-enterprise.yml").read_text())["services"]["enterprise"]
MIB = 1 << 20
ONCE = "on-failure:3"
"""How what ends is started again: without a bound, `up` would wait for ever and not say why."""


def seconds(text: str) -> float:
    minutes, _, rest = text.rpartition("m")
    return float(minutes or 0) * 60 + float(rest.removesuffix("s"))


# --- as the guide has them --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "service", "ports"),
    [
        (SIMPLE, "manifold", ["32180:32180"]),
        (SIMPLE, "pg-manifold", ["5433:5432"]),
        (ENTERPRISE, "manifold", ["32180:32180"]),
        (ENTERPRISE, "pg-manifold", ["5433:5432"]),
        (ENTERPRISE, "minio", ["9002:9000", "9003:9001"]),
        (ENTERPRISE, "redis", ["6379:6379"]),
        (ENTERPRISE, "kafka", ["9092:9092"]),
        (ENTERPRISE, "vault", ["8200:8200"]),
        (SCALE, "proxy", ["32180:32180"]),
        (SCALE, "manifold", []),
        (LOCALSTACK, "localstack", ["4566:4566"]),
    ],
)
def test_ports_are_the_guides_and_open_to_this_machine_only(
    compose: Compose, files: tuple[str, ...], service: str, ports: list[str]
) -> None:
    published = compose.services(files)[service].get("ports", [])
    assert [f"{one['published']}:{one['target']}" for one in published] == ports
    assert {one["host_ip"] for one in published} <= {"127.0.0.1"}


def test_either_object_store_has_the_ports_of_the_guide_and_answers_by_the_same_name(compose: Compose) -> None:
    services = compose.services(ENTERPRISE, OBJECT_STORE="seaweedfs")
    assert "minio" not in services
    store = services["seaweedfs"]
    assert [f"{one['published']}:{one['target']}" for one in store["ports"]] == ["9002:9000", "9003:23646"]
    assert store["networks"]["default"]["aliases"] == ["minio"]
    assert services["store-setup"]["depends_on"].keys() == {"seaweedfs"}


def test_the_database_is_in_the_container_that_the_guide_backs_up(compose: Compose) -> None:
    for files in STACKS:
        assert compose.services(files)["pg-manifold"]["container_name"] == "postgres"


def test_all_stacks_are_one_project_so_that_one_follows_upon_another(compose: Compose) -> None:
    """Containers of fixed names and ports: two projects could not be there side by side."""
    projects = [compose.project(files) for files in STACKS]
    assert {project["name"] for project in projects} == {"manifold"}


def test_simple_and_enterprise_mode_share_no_data(compose: Compose) -> None:
    simple, enterprise = (compose.project(files)["volumes"] for files in (SIMPLE, ENTERPRISE))
    assert not {one["name"] for one in simple.values()} & {one["name"] for one in enterprise.values()}


def test_three_nodes_are_the_same_with_and_without_the_file_of_enterprise_mode(compose: Compose) -> None:
    alone = compose.project(SCALE)
    assert compose.project(SCALE_UPON_ENTERPRISE)["services"] == alone["services"]
    node = alone["services"]["manifold"]
    assert node["deploy"]["replicas"] == 3
    assert "container_name" not in node, "three containers cannot have one name"
    assert not [one for one in node["volumes"] if one["type"] == "volume" and one.get("source")], "each its own"
    assert node["environment"]["SERVER_TRUSTED_PROXIES"]


def test_nothing_that_has_to_last_can_lie_in_a_folder_that_is_gone_with_its_node(compose: Compose) -> None:
    node = compose.services(SCALE)["manifold"]
    writable = [one["target"] for one in node["volumes"] if not one.get("read_only")]
    writable += [one.partition(":")[0] for one in node["tmpfs"]]
    assert node["read_only"] is True
    for name in ("PROJECTS_FILESYSTEM_ROOT", "PROJECTS_ENCRYPTION_FILE_KEYSTORE_PATH"):
        assert not [one for one in writable if node["environment"][name].startswith(one)], name


def test_a_file_of_ones_own_changes_what_is_included(tmp_path: Path) -> None:
    mine = Compose(tmp_path, SECRETS)
    (tmp_path / "docker-compose.override.yml").write_text("services: {manifold: {environment: {LOG_LEVEL: debug}}}\n")
    assert mine.services(SIMPLE)["manifold"]["environment"]["LOG_LEVEL"] == "debug"


# --- what keeps a machine in order ------------------------------------------------------------------------------------


@pytest.mark.parametrize("files", STACKS)
def test_images_are_pinned(compose: Compose, files: tuple[str, ...]) -> None:
    for service, facts in compose.services(files).items():
        if facts["image"] != "manifold":
            tag = facts["image"].rpartition(":")[2]
            assert re.search(r"\d", tag) and tag != "latest", (service, facts["image"])


@pytest.mark.parametrize("files", STACKS)
def test_memory_and_logs_of_every_container_are_bounded(compose: Compose, files: tuple[str, ...]) -> None:
    for service, facts in compose.services(files).items():
        assert int(facts["mem_limit"]) >= 256 * MIB, service
        assert facts["logging"]["options"] == {"max-size": "10m", "max-file": "3"}, service


def test_ram_for_working_sets_is_a_part_of_a_containers_memory_that_is_never_swapped(compose: Compose) -> None:
    for files in (SIMPLE, ENTERPRISE, SCALE):
        manifold = compose.services(files)["manifold"]
        (size,) = re.findall(r"^/app/tmpfs:size=(\d+)g", "\n".join(manifold["tmpfs"]), re.MULTILINE)
        assert int(size) << 30 <= int(manifold["mem_limit"]) / 2
        assert manifold["memswap_limit"] == manifold["mem_limit"]


def test_redis_forgets_before_its_container_is_full(compose: Compose) -> None:
    redis = compose.services(ENTERPRISE)["redis"]
    (megabytes,) = re.findall(r"--maxmemory (\d+)mb", redis["command"][-1])
    assert int(megabytes) * MIB < int(redis["mem_limit"]) * 0.8


@pytest.mark.parametrize("files", STACKS)
def test_what_runs_on_is_checked(compose: Compose, files: tuple[str, ...]) -> None:
    for service, facts in compose.services(files).items():
        once = facts["restart"] == ONCE
        if not once and service != "manifold":  # whose check is in its Dockerfile
            assert facts["healthcheck"]["test"], service
            assert seconds(facts["healthcheck"]["timeout"]) <= seconds(facts["healthcheck"]["interval"]), service


@pytest.mark.parametrize("files", STACKS)
def test_who_ends_is_waited_for_to_end_and_who_runs_on_to_be_healthy(compose: Compose, files: tuple[str, ...]) -> None:
    services = compose.services(files)
    for service, facts in services.items():
        for other, condition in facts.get("depends_on", {}).items():
            once = services[other]["restart"] == ONCE
            assert (condition["condition"] == "service_completed_successfully") == once, (service, other)


@pytest.mark.parametrize("files", STACKS)
def test_files_that_are_mounted_exist(compose: Compose, files: tuple[str, ...]) -> None:
    made = ("/.aws-sam/", "/docker.sock", "/config.yaml")  # by a build, by Docker, by the user
    for service, facts in compose.services(files).items():
        for volume in facts.get("volumes", []):
            if volume["type"] == "bind" and not any(one in volume["source"] for one in made):
                assert Path(volume["source"]).exists(), (service, volume)


def test_a_missing_config_yaml_is_an_error_and_not_a_folder_that_docker_makes(compose: Compose) -> None:
    mounts = {one["target"]: one for one in compose.services(SIMPLE)["manifold"]["volumes"]}
    mount = mounts["/app/config.yaml"]
    assert mount["source"] == str(compose.folder / "config.yaml")
    assert mount["bind"] == {"create_host_path": False}
    assert mount["read_only"] is True


def test_plaintext_lies_in_ram_in_a_folder_that_manifold_makes_for_itself(compose: Compose) -> None:
    """Not in the mount itself, whose owner Docker can set and podman cannot."""
    for files in (SIMPLE, ENTERPRISE, SCALE):
        node = compose.services(files)["manifold"]
        (mount,) = [one for one in node["tmpfs"] if one.startswith("/app/tmpfs:")]
        assert "mode=1777" in mount
        assert "uid=" not in mount
        assert node["environment"]["PROJECTS_WORKSPACE_TMPFS_DIR"].startswith("/app/tmpfs/")


@pytest.mark.parametrize("files", [ENTERPRISE, SCALE])
@pytest.mark.parametrize("store", ["minio", "seaweedfs"])
def test_a_client_of_this_machine_reaches_the_store_by_the_links_it_is_given(
    compose: Compose, files: tuple[str, ...], store: str
) -> None:
    services = compose.services(files, OBJECT_STORE=store)
    port = next(one["published"] for one in services[store]["ports"] if one["target"] == 9000)
    assert services["manifold"]["environment"]["S3_PUBLIC_ENDPOINT"] == f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("files", [SIMPLE, ENTERPRISE, SCALE])
def test_a_node_hears_that_it_is_to_stop_also_while_it_starts(compose: Compose, files: tuple[str, ...]) -> None:
    """The kernel keeps from a container's first process what it has no handler for yet."""
    assert compose.services(files)["manifold"]["init"] is True


# --- the image ------------------------------------------------------------------------------------------------------


def test_a_builder_is_sent_what_the_dockerfile_copies_and_nothing_else() -> None:
    dockerfile = (ROOT / "local" / "Dockerfile").read_text()
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE)
    copied = {source for line in lines for source in line.split()}
    everything, *rules = [
        line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] not in ("", "#")
    ]
    assert everything == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied


# --- variables --------------------------------------------------------------------------------------------------------


def test_every_secret_is_in_the_example_and_its_absence_is_named(tmp_path: Path) -> None:
    example = dict(line.split("=", 1) for line in (ROOT / "example.env").read_text().splitlines() if line[:1].isalpha())
    for name in SECRETS:
        assert name in example, name
    for number, name in enumerate(SECRETS.keys() - {"REDIS_PASSWORD"}):
        (folder := tmp_path / str(number)).mkdir()
        done = Compose(folder, {**SECRETS, name: ""}).run("-f", *ENTERPRISE, "config", "--quiet")
        assert done.returncode != 0
        assert f"set {name} in .env" in done.stderr or name == "VAULT_DEV_ROOT_TOKEN"
        assert name in done.stderr


def test_simple_mode_asks_for_nothing_that_the_example_does_not_have(tmp_path: Path) -> None:
    untouched = Compose(tmp_path, (ROOT / "example.env").read_text())
    assert untouched.services(SIMPLE).keys() == {"pg-manifold", "manifold"}


def value_of(variable: str) -> str:
    return f"{variable.lower()}-was-passed"


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], dict[str, str]]:
    """What a node is given, for each stack, when ``.env`` sets every variable there is."""
    dotenv = {name: value_of(name) for setting in describe_settings() for name in (*setting.env, *setting.fallback)}
    everything = Compose(tmp_path_factory.mktemp("everything"), {**dotenv, **SECRETS})
    return {files: everything.services(files)["manifold"]["environment"] for files in (SIMPLE, ENTERPRISE, SCALE)}


Passed = dict[tuple[str, ...], dict[str, str]]


def test_every_variable_reaches_a_node_unless_the_file_says_why_not(passed: Passed) -> None:
    refused = set(NOT_PASSED)
    names = {name for setting in describe_settings() for name in setting.env}
    for files, environ in passed.items():
        reached = {name for name in names if environ.get(name) == SECRETS.get(name, value_of(name))}
        assert not reached & refused
        own = set() if files == SIMPLE else set(OF_ENTERPRISE["environment"])
        assert names - reached - own == refused & names, "local/compose/base.yml passes it, or says why not"


def test_what_enterprise_mode_fixes_are_the_addresses_of_its_servers(passed: Passed) -> None:
    fixed = {
        name
        for name, value in passed[ENTERPRISE].items()
        if passed[SIMPLE].get(name) == value_of(name) and value != value_of(name)
    }
    assert fixed == {"S3_ENDPOINT", "REDIS_ADDR", "VAULT_ADDR"}


def test_variables_that_are_said_not_to_be_passed_exist() -> None:
    known = {name for setting in describe_settings() for name in setting.env}
    assert set(NOT_PASSED) - known == {"MANIFOLD_CONFIG"}


def test_the_token_of_vaults_administrator_does_not_reach_a_node_that_has_one_of_its_own(tmp_path: Path) -> None:
    services = Compose(tmp_path, {**SECRETS, "VAULT_TOKEN": "its-own"}).services(ENTERPRISE)
    holders = {name for name, facts in services.items() if SECRETS["VAULT_DEV_ROOT_TOKEN"] in str(facts)}
    assert holders == {"vault", "vault-setup"}
    assert services["manifold"]["environment"]["VAULT_TOKEN"] == "its-own"


# --- what Manifold makes of it ----------------------------------------------------------------------------------------


def settings_of(compose: Compose, files: tuple[str, ...], config: Path, folder: Path) -> Settings:
    """Return the settings of a node, of which ``config`` is what is mounted as its configuration."""
    given = compose.services(files)["manifold"]["environment"]
    environ = {name: value for name, value in given.items() if value is not None}
    assert environ["MANIFOLD_CONFIG"] == "/app/config.yaml"
    return load_settings(environ={**environ, "MANIFOLD_CONFIG": str(config)}, cwd=folder)


def test_simple_mode_is_what_the_example_configuration_says(compose: Compose, tmp_path: Path) -> None:
    settings = settings_of(compose, SIMPLE, ROOT / "config.yaml.example", tmp_path)
    assert settings.database_url is not None
    assert "the-postgres-password@pg-manifold:5432" in settings.database_url.get_secret_value()
    assert (settings.projects.backend, settings.projects.encrypt) == ("filesystem", False)
    assert settings.projects.workspace.mode == "legacy"
    assert str(settings.workdir) == "/app/manifold"
    assert not settings.warnings


@pytest.mark.parametrize("files", [ENTERPRISE, SCALE])
def test_enterprise_mode_finds_its_servers(compose: Compose, files: tuple[str, ...], tmp_path: Path) -> None:
    mounts = {one["target"]: one["source"] for one in compose.services(files)["manifold"]["volumes"] if "source" in one}
    settings = settings_of(compose, files, Path(mounts["/app/config.yaml"]), tmp_path)
    projects = settings.projects
    assert (projects.backend, projects.encrypt, projects.workspace.mode) == ("s3", True, "ephemeral")
    assert str(projects.s3.endpoint).rstrip("/") == "http://minio:9000"
    assert str(projects.encryption.vault.address).rstrip("/") == "http://vault:8200"
    assert (projects.redis.addr, projects.events.brokers) == ("redis:6379", ("kafka:29092",))
    assert str(projects.workspace.tmpfs_dir) == "/app/tmpfs/sets"
    assert str(projects.workspace.cache_dir) == "/app/cache"
    assert not settings.warnings


def test_the_proxys_logs_name_no_path_of_a_request() -> None:
    """nginx logs each request with its path, in which names of files are, unless it is told not to."""
    lines = [line.strip() for line in (PLACE / "proxy.conf").read_text().splitlines()]
    (shape,) = (line for line in lines if line.startswith("log_format discreet "))
    assert {"$remote_addr", "$status"} < set(re.findall(r"\$\w+", shape))
    assert not {"$request", "$request_uri", "$uri", "$args", "$http_referer"} & set(re.findall(r"\$\w+", shape))
    assert "access_log /dev/stdout discreet;" in lines
    assert "error_log /dev/stderr emerg;" in lines, "a message of nginx about a request has its first line"
