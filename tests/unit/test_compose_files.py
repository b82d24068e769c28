"""The compose files hold together: ports and names of the guide, pinned images, checks, and settings that are valid."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifold_common.settings import load_settings

ROOT = Path(__file__).parents[2]
LOCAL = ROOT / "local"
VARIABLE = re.compile(r"\$\{(\w+)(:?[-?+])?([^${}]*)\}")


class _Loader(yaml.SafeLoader):
    """Also takes the tags with which one compose file changes another."""


for _tag in ("!reset", "!override"):
    _Loader.add_constructor(_tag, lambda loader, node: loader.construct_sequence(node, deep=True))


def services(name: str) -> dict[str, dict[str, Any]]:
    text = (LOCAL / name).read_text()
    found: dict[str, dict[str, Any]] = yaml.load(text, _Loader)["services"]
    return found


FILES = sorted(path.name for path in LOCAL.glob("docker-compose*.yml"))
SIMPLE, ENTERPRISE, SCALE = "docker-compose.yml", "docker-compose.enterprise.yml", "docker-compose.scale.yml"
LOCALSTACK = "docker-compose.localstack.yml"
UPON_ENTERPRISE = (SCALE, LOCALSTACK)
"""Files that add to that one."""


def test_all_stacks_are_there() -> None:
    assert sorted([SIMPLE, ENTERPRISE, SCALE, LOCALSTACK]) == FILES


@pytest.mark.parametrize(
    ("name", "service", "ports"),
    [
        (SIMPLE, "manifold", ["32180:32180"]),
        (SIMPLE, "pg-manifold", ["5433:5432"]),
        (ENTERPRISE, "manifold", ["32180:32180"]),
        (ENTERPRISE, "pg-manifold", ["5433:5432"]),
        (ENTERPRISE, "minio", ["9002:9000", "9003:9001"]),
        (ENTERPRISE, "seaweedfs", ["9002:9000", "9003:23646"]),
        (ENTERPRISE, "redis", ["6379:6379"]),
        (ENTERPRISE, "kafka", ["9092:9092"]),
        (ENTERPRISE, "vault", ["8200:8200"]),
        (SCALE, "proxy", ["32180:32180"]),
        (LOCALSTACK, "localstack", ["4566:4566"]),
    ],
)
def test_ports_are_the_guides_and_open_to_this_machine_only(name: str, service: str, ports: list[str]) -> None:
    assert services(name)[service]["ports"] == [f"127.0.0.1:{port}" for port in ports]


@pytest.mark.parametrize("name", FILES)
def test_images_are_pinned(name: str) -> None:
    for service, facts in services(name).items():
        image = facts.get("image", "")
        if image and image != "manifold":
            tag = image.rpartition(":")[2]
            assert re.search(r"\d", tag) and tag != "latest", (service, image)


@pytest.mark.parametrize("name", FILES)
def test_what_runs_on_is_checked(name: str) -> None:
    for service, facts in services(name).items():
        once = facts.get("restart") == "on-failure"
        if not once and service != "manifold":  # whose check is in its Dockerfile
            assert facts["healthcheck"]["test"], service


@pytest.mark.parametrize("name", FILES)
def test_nobody_waits_for_something_that_is_not_there(name: str) -> None:
    known = services(ENTERPRISE).keys() if name in UPON_ENTERPRISE else services(name).keys()
    for service, facts in services(name).items():
        for other, condition in facts.get("depends_on", {}).items():
            assert other in known, (service, other)
            once = services(name if other in services(name) else ENTERPRISE)[other].get("restart") == "on-failure"
            assert (condition["condition"] == "service_completed_successfully") == once, (service, other)


@pytest.mark.parametrize("name", FILES)
def test_variables_without_a_default_are_in_the_example(name: str) -> None:
    example = dict(line.split("=", 1) for line in (ROOT / "example.env").read_text().splitlines() if line[:1].isalpha())
    text = (LOCAL / name).read_text().replace("$$", "")
    for variable, operator, rest in VARIABLE.findall(text):
        assert operator, f"{variable} has neither a default nor a demand"
        if operator == ":?":
            assert variable in example, variable
            assert variable in rest


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_mounted_exist(name: str) -> None:
    for service, facts in services(name).items():
        for volume in facts.get("volumes", []):
            # What is built does not lie in a fresh clone.
            if isinstance(volume, str) and volume.startswith(".") and not volume.startswith("../.aws-sam/"):
                assert (LOCAL / volume.split(":")[0]).resolve().exists(), (service, volume)


@pytest.mark.parametrize("name", [SIMPLE, ENTERPRISE])
def test_manifold_understands_the_settings_it_is_given(name: str, tmp_path: Path) -> None:
    def filled(match: re.Match[str]) -> str:
        return match[3] if match[2] == ":-" else f"value-of-{match[1]}"

    given = services(name)["manifold"]["environment"]
    environ = {key: VARIABLE.sub(filled, VARIABLE.sub(filled, str(value))) for key, value in given.items()}
    if "MANIFOLD_CONFIG" in environ:
        assert any(volume.endswith(f"{environ['MANIFOLD_CONFIG']}:ro") for volume in _mounts(name))
        environ["MANIFOLD_CONFIG"] = str(ROOT / "configs" / "enterprise.yaml")
    settings = load_settings(environ=environ, cwd=tmp_path)
    assert not settings.warnings
    assert settings.database_url is not None
    assert "value-of-POSTGRES_PASSWORD@pg-manifold:5432" in settings.database_url.get_secret_value()
    if name == ENTERPRISE:
        projects = settings.projects
        assert (projects.backend, projects.encrypt, projects.workspace.mode) == ("s3", True, "ephemeral")
        assert str(projects.s3.endpoint).rstrip("/") == "http://minio:9000"
        assert str(projects.encryption.vault.address).rstrip("/") == "http://vault:8200"
        assert (projects.redis.addr, projects.events.brokers) == ("redis:6379", ("kafka:29092",))


def test_plaintext_lies_in_ram_that_only_manifold_may_enter() -> None:
    (mount,) = [one for one in services(ENTERPRISE)["manifold"]["tmpfs"] if one.startswith("/app/tmpfs:")]
    assert "mode=0700" in mount
    assert "uid=10001" in mount
    assert "USER 10001" in (LOCAL / "Dockerfile").read_text()


def _mounts(name: str) -> list[str]:
    return [one for one in services(name)["manifold"]["volumes"] if isinstance(one, str)]
