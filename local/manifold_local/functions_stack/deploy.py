"""From the source to running functions: ``sam build``, ``sam deploy``, and the routes of the HTTP API."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import yaml
from manifold_common.settings import HELD, Settings, describe_settings
from pydantic import SecretStr

from manifold_local.functions_stack.ministack import CREDENTIALS, REGION, Ministack
from manifold_local.functions_stack.tools import Tools
from manifold_local.packaging.wheels import ROOT

STACK = "manifold-local"
TEMPLATE = ROOT / "infra" / "template.yaml"
CONFIG = ROOT / "samconfig.toml"
SECRETS = "manifold/local"
_NOT_OF_FUNCTIONS = ("aws.", "database", "functions.", "remote.", "server.host", "server.port")
"""What begins so is another's, or given in another way."""
_DEFAULT = "$default"
_ANY_METHOD = "x-amazon-apigateway-any-method"
_FUNCTION = re.compile(r"\$\{(\w+)Function\.Arn\}")


def build(tools: Tools, folder: Path) -> Path:
    """Build the artifacts for this machine's Python and return the template that names them. Raises Unavailable."""
    made = folder / "build"
    options = ("--config-file", CONFIG, "--config-env", "local", "--build-dir", made)
    tools.sam_build(*options, environ={"LAMBDA_PYTHON": "local"})
    return made / "template.yaml"


def keep_secrets(aws: Ministack, settings: Settings, dsn: str) -> None:
    """Put what was set where functions read it."""
    with aws.client("secretsmanager") as secrets:
        for function in HELD:
            values = {**given(settings, function), "DATABASE_URL": dsn_of(function, dsn)}
            secrets.create_secret(Name=f"{SECRETS}/{function}", SecretString=json.dumps(values))


def given(settings: Settings, function: str) -> dict[str, str]:
    """Return the variables that say what was set, as far as it is for a function, and for this one.

    The template has variables of its own, which count more.
    """
    held = HELD[function]
    without_secret = set() if "projects.s3.secretAccessKey" in held else {"projects.s3.accessKeyId"}
    return {
        setting.env[0]: _as_variable(setting.value(settings))
        for setting in describe_settings()
        if settings.sources[setting.key] != "default"
        and setting.unserved is None
        and not setting.is_path  # of this machine
        and not setting.key.startswith(_NOT_OF_FUNCTIONS)
        and (setting.key in held if setting.secret else setting.key not in without_secret)
    }


def _as_variable(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_as_variable, value))
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(value).lower() if isinstance(value, bool) else str(value)


def dsn_of(function: str, dsn: str) -> str:
    """Return the connection string for a function: as the role that it needs (docs/catalog.md)."""
    role = "manifold_app" if function in ("api", "checkout", "commit") else "manifold_jobs"
    parts = urlsplit(dsn)
    options = f"options={quote(f'-c role={role}')}"
    return parts._replace(query=f"{parts.query}&{options}" if parts.query else options).geturl()


def parameters(settings: Settings, public_url: str) -> dict[str, str]:
    """Return those of the template, for a stack whose servers are the settings' ones. None is secret."""
    projects = settings.projects
    return {
        "Stage": "local",
        "ApiAuthorization": "NONE",
        "PublicUrl": settings.server.public_url or public_url,
        "SecretPrefix": SECRETS,
        "BucketName": projects.s3.bucket or "",
        "S3Endpoint": str(projects.s3.endpoint),
        "KeyProvider": projects.encryption.provider,
        "VaultAddress": str(projects.encryption.vault.address),
        "VaultKeyName": projects.encryption.vault.key_name,
        "RedisAddress": projects.redis.addr,
        "RedisTls": "false",
        "KafkaBrokers": ",".join(projects.events.brokers),
        "KafkaTopic": projects.events.topic,
        "KafkaTls": "false",
        "MaintenanceRate": "rate(1 minute)",
        "LogLevel": settings.log_level,
    }


def deploy(tools: Tools, aws: Ministack, template: Path, values: Mapping[str, str], home: Path) -> str:
    """Deploy the built template, and return the id of its HTTP API. Raises Unavailable."""
    environ = {**CREDENTIALS, "AWS_DEFAULT_REGION": REGION, "AWS_ENDPOINT_URL": aws.url, "SAM_CLI_POLL_DELAY": "0.5"}
    given = [f'{name}="{value}"' for name, value in values.items() if value]
    tools.sam(
        *(
            "deploy",
            "--config-file",
            CONFIG,
            "--config-env",
            "local",
            "--stack-name",
            STACK,
            "--template-file",
            template,
        ),
        *("--parameter-overrides", *given),
        home=home,
        environ=environ,
    )
    with aws.client("cloudformation") as cloudformation:
        (stack,) = cloudformation.describe_stacks(StackName=STACK)["Stacks"]
    outputs = {item["OutputKey"]: item["OutputValue"] for item in stack["Outputs"]}
    make_routes(aws, outputs["ApiId"])
    return str(outputs["ApiId"])


def make_routes(aws: Ministack, api_id: str) -> None:
    """Make the routes that the template's OpenAPI document asks for, which the stand-in does not read."""
    with aws.client("apigatewayv2") as gateway, aws.client("lambda") as functions:
        for key, function in routes().items():
            found = functions.get_function(FunctionName=f"{STACK}-{function}")
            integration = gateway.create_integration(
                ApiId=api_id,
                IntegrationType="AWS_PROXY",
                PayloadFormatVersion="2.0",
                IntegrationUri=found["Configuration"]["FunctionArn"],
            )
            gateway.create_route(ApiId=api_id, RouteKey=key, Target=f"integrations/{integration['IntegrationId']}")


def routes() -> dict[str, str]:
    """Return the functions that answer requests, by route key, as the template has them."""
    template = yaml.load(TEMPLATE.read_text(), _Loader)  # noqa: S506 - a safe loader, which also knows short forms
    paths: dict[str, dict[str, Any]] = template["Resources"]["HttpApi"]["Properties"]["DefinitionBody"]["paths"]
    found = {}
    for path, operations in paths.items():
        for method, operation in operations.items():
            match = _FUNCTION.search(str(operation["x-amazon-apigateway-integration"]["uri"]))
            assert match, f"{path} names no function"
            key = _DEFAULT if path == _DEFAULT and method == _ANY_METHOD else f"{method.upper()} {path}"
            found[key] = match[1].lower()
    return found


class _Loader(yaml.SafeLoader):
    """Takes ``!Ref`` and the like for what stands behind them."""


def _plain(loader: yaml.SafeLoader, _tag: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    assert isinstance(node, yaml.MappingNode)
    return loader.construct_mapping(node, deep=True)


_Loader.add_multi_constructor("!", _plain)
