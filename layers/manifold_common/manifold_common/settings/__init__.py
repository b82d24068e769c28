"""The configuration: the only reader of the environment and of configuration files.

``load_settings()`` gives one immutable ``Settings``; everything else is told what it needs to know.
"""

from __future__ import annotations

from manifold_common.settings.catalogue import Setting, describe_settings
from manifold_common.settings.children import child_environment, environment_with, runtime_folder
from manifold_common.settings.holders import HELD
from manifold_common.settings.load import load_settings
from manifold_common.settings.model import Auth, Aws, Clickhouse, Functions, Llm, Otel, Server, Settings, Skills
from manifold_common.settings.projects import (
    S3,
    AwsKms,
    Encryption,
    Events,
    Filesystem,
    KeyFile,
    Maintenance,
    OptionalTls,
    Projects,
    Quotas,
    Redis,
    Retention,
    Sasl,
    Tls,
    Vault,
    VaultAuth,
    Webhooks,
    Workspace,
)
from manifold_common.settings.reference import masked, reference_page

__all__ = [
    # reading
    "HELD",
    "Settings",
    "child_environment",
    "environment_with",
    "runtime_folder",
    "load_settings",
    # showing
    "Setting",
    "describe_settings",
    "masked",
    "reference_page",
    # sections
    "Auth",
    "Aws",
    "AwsKms",
    "Clickhouse",
    "Encryption",
    "Events",
    "Filesystem",
    "Functions",
    "KeyFile",
    "Llm",
    "Maintenance",
    "OptionalTls",
    "Otel",
    "Projects",
    "Quotas",
    "Redis",
    "Retention",
    "S3",
    "Sasl",
    "Server",
    "Skills",
    "Tls",
    "Vault",
    "VaultAuth",
    "Webhooks",
    "Workspace",
]
