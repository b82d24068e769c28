"""The functions in Docker on this machine: what sam and LocalStack are told, as far as it shows without Docker."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from manifold_common.settings import HELD, load_settings
from manifold_common.settings.catalogue import describe_settings

from tests.support.compose import ENTERPRISE, Compose
from tests.support.compose import LOCALSTACK as WITH_LOCALSTACK
from tests.support.templates import NAMES, ROOT, template, values_of
from tests.support.tools import run_in_tools, tools

LOCAL = ROOT / "local"
HOOK = LOCAL / "localstack" / "ready.d" / "deploy.sh"
SAM_LOCAL: dict[str, dict[str, str]] = json.loads((LOCAL / "sam-local.json").read_text())
IN_SHELL = {
    "POSTGRES_PASSWORD": "pg",
    "MINIO_ROOT_USER": "user",
    "MINIO_ROOT_PASSWORD": "minio",
    "VAULT_TOKEN": "token",
    "REDIS_PASSWORD": "",
}
"""What .env holds and sam takes from its own environment."""


# --- sam local --------------------------------------------------------------------------------------------------


def test_what_sam_local_is_given_are_variables_of_the_template_and_no_secrets() -> None:
    variables = {name for found in values_of(template(), "Variables") for name in found}
    known = {"Parameters", *(f"{name.capitalize()}Function" for name in NAMES)}
    secret = {name for setting in describe_settings() if setting.secret for name in (*setting.env, *setting.fallback)}
    assert SAM_LOCAL.keys() <= known
    for values in SAM_LOCAL.values():
        assert values.keys() - variables == set(), "sam sets only variables that the template has"
        assert not {name for name, value in values.items() if value} & (secret - {"DATABASE_URL"})
        assert values["DATABASE_URL"].startswith("postgresql://manifold@"), "the password is not in it"
    assert IN_SHELL.keys() <= variables


_RESOLVE = """
import json, sys
from samcli.commands.local.lib.local_lambda import LocalLambdaRunner
from samcli.lib.providers.sam_function_provider import SamFunctionProvider
from samcli.lib.providers.sam_stack_provider import SamLocalStackProvider
stacks, _ = SamLocalStackProvider.get_stacks(sys.argv[1], parameter_overrides={"Stage": "local"})
provider = SamFunctionProvider(stacks)
runner = LocalLambdaRunner(None, provider, "/", "/", env_vars_values=json.load(open(sys.argv[2])))
print(json.dumps({one.name: runner._make_env_vars(one).resolve() for one in provider.get_all()}))
"""


def test_sam_local_gives_every_function_settings_for_the_servers_of_the_compose_file(
    tmp_path: Path, compose: Compose
) -> None:
    document, values = ROOT / "infra" / "template.yaml", LOCAL / "sam-local.json"
    found = json.loads(run_in_tools(_RESOLVE, document, values, home=tmp_path, environ=IN_SHELL))
    assert sorted(found) == sorted(f"{name.capitalize()}Function" for name in NAMES)
    names = set(compose.services(ENTERPRISE))
    for environ in found.values():
        settings = load_settings(environ=environ, cwd=tmp_path, open_secret=_no_secret)
        projects = settings.projects
        assert settings.database_url is not None
        assert settings.database_url.get_secret_value() == "postgresql://manifold:pg@pg-manifold:5432/manifold"
        assert (projects.backend, projects.encrypt, projects.encryption.provider) == ("s3", True, "vault")
        assert projects.s3.secret_access_key is not None and projects.encryption.vault.token is not None
        assert (projects.s3.access_key_id, projects.s3.secret_access_key.get_secret_value()) == ("user", "minio")
        assert projects.encryption.vault.token.get_secret_value() == "token"
        functions = settings.functions
        assert functions.nudge_queue_url is functions.reencrypt_queue_url is functions.maintenance_queue_url is None
        addresses = [projects.redis.addr, *projects.events.brokers, _host(projects.s3.endpoint)]
        addresses.append(_host(projects.encryption.vault.address))
        for address in addresses:
            assert address.split(":")[0] in names, address


def _no_secret(secrets_id: str, _aws: object) -> dict[str, str]:
    raise AssertionError(f"there is none, least of all {secrets_id!r}")


def _host(url: object) -> str:
    return str(url).split("/")[2]


_OPTIONS = """
import importlib, json
commands = {"local_start_api": "local.start_api.cli", "local_invoke": "local.invoke.cli", "deploy": "deploy.command"}
commands |= {"build": "build.command", "validate": "validate.validate"}
modules = {name: importlib.import_module(f"samcli.commands.{path}") for name, path in commands.items()}
print(json.dumps({name: [option.name for option in module.cli.params] for name, module in modules.items()}))
"""


def test_samconfig_sets_options_that_sam_has(tmp_path: Path) -> None:
    known = json.loads(run_in_tools(_OPTIONS, home=tmp_path))
    stages = tomllib.loads((ROOT / "samconfig.toml").read_text())
    checked = 0
    for stage, commands in stages.items():
        for command, facts in commands.items() if isinstance(commands, dict) else ():
            assert set(facts["parameters"]) <= set(known[command]), (stage, command)
            checked += 1
    assert checked >= 9


def test_sam_local_joins_the_network_of_the_compose_file(compose: Compose) -> None:
    stage = tomllib.loads((ROOT / "samconfig.toml").read_text())["local"]
    network = compose.project(ENTERPRISE)["networks"]["default"]["name"]
    for command in ("local_start_api", "local_invoke"):
        assert stage[command]["parameters"]["docker_network"] == network
        assert (ROOT / stage[command]["parameters"]["env_vars"]).is_file()


# --- LocalStack -------------------------------------------------------------------------------------------------

LOCALSTACK = yaml.safe_load((LOCAL / "compose" / "localstack.yml").read_text())["services"]["localstack"]
"""As it is written."""


def test_localstack_is_the_last_one_that_needs_no_token() -> None:
    assert LOCALSTACK["image"] == "localstack/localstack:4.14.0"


def test_functions_in_localstack_are_in_the_network_of_the_servers(compose: Compose) -> None:
    network = compose.project(ENTERPRISE)["networks"]["default"]["name"]
    project = compose.project(WITH_LOCALSTACK)
    assert project["networks"]["default"]["name"] == network
    assert project["services"]["localstack"]["environment"]["LAMBDA_DOCKER_NETWORK"] == network


def test_localstack_finds_the_hook_and_what_was_built() -> None:
    mounts = dict(volume.split(":")[:2] for volume in LOCALSTACK["volumes"])
    assert mounts["../localstack/ready.d"] == "/etc/localstack/init/ready.d"
    assert f"${{MANIFOLD_BUILD:-{mounts['../../.aws-sam/build']}}}" in HOOK.read_text()
    assert HOOK.stat().st_mode & 0o111


def test_the_hook_is_valid_shell() -> None:
    for command in (["bash", "-n"], [tools().folder / "bin" / "shellcheck"]):
        done = subprocess.run([*command, HOOK], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_hook_sets_parameters_of_the_template_from_variables_that_it_gets() -> None:
    script, known = HOOK.read_text(), template()["Parameters"]
    given = re.search(r"--parameter-overrides \\\n(.*?)\n\n", script, re.DOTALL)
    assert given
    pairs = dict(pair.split("=", 1) for pair in given[1].replace("\\\n", " ").split())
    assert pairs.keys() <= known.keys()
    assert {name for name, facts in known.items() if "Default" not in facts} <= pairs.keys()
    for name, value in pairs.items():
        allowed = known[name].get("AllowedValues")
        assert allowed is None or value.startswith('"$') or value in allowed, (name, value)
    own = {"MANIFOLD_BUILD", "function", *re.findall(r"(?:^|\s)(\w+)=", script)}
    assert set(re.findall(r"\$\{?(\w+)", script)) - own <= LOCALSTACK["environment"].keys()


def test_the_hook_gives_each_function_the_secrets_that_it_may_hold(tmp_path: Path) -> None:
    script = HOOK.read_text()
    part = script[script.index("secret_of()") : script.index("awslocal cloudformation deploy")]
    variables = {name: f"value-of-{name}" for name in LOCALSTACK["environment"]}
    stand_in = 'awslocal() { name=$4; { printf \'%s \' "$name"; cat; } >> "$FOUND"; }\n'
    found = tmp_path / "secrets"
    environ = {**variables, "PATH": os.environ["PATH"], "FOUND": str(found)}
    subprocess.run(["sh", "-euc", stand_in + part], env=environ, check=True)
    kept = {line.split(" ", 1)[0]: json.loads(line.split(" ", 1)[1]) for line in found.read_text().splitlines()}
    assert kept.keys() == {f"manifold/local/{name}" for name in NAMES}
    keys = {name: one for one in describe_settings() for name in (*one.env, *one.fallback)}
    given = {keys[variable].key for variable in variables if variable in keys and keys[variable].secret}
    for name in NAMES:
        secret = kept[f"manifold/local/{name}"]
        held = {keys[variable].key for variable in secret if keys[variable].secret}
        assert held == given & HELD[name]
        assert all(value == f"value-of-{variable}" for variable, value in secret.items())
    assert "VAULT_TOKEN" in kept["manifold/local/api"] and "VAULT_TOKEN" not in kept["manifold/local/fanout"]


def test_without_a_build_the_hook_says_what_to_run(tmp_path: Path) -> None:
    environ = {"PATH": "/usr/bin:/bin", "MANIFOLD_BUILD": str(tmp_path)}
    done = subprocess.run(["sh", HOOK], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "make functions" in done.stderr


@pytest.mark.parametrize("name", ["LAMBDA_PYTHON", "LAMBDA_ARCHITECTURE"])
def test_what_is_deployed_is_what_make_functions_builds_by_default(name: str) -> None:
    makefile = re.search(rf"^{name} \?= (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert makefile
    assert LOCALSTACK["environment"][name] == f"${{{name}:-{makefile[1]}}}"
