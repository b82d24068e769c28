"""Every setting of Manifold, once: its type, default, limits, description and environment variable."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import PrivateAttr, SecretStr, model_validator

from manifold_common.settings.fields import (
    Bytes,
    Directory,
    HttpUrl,
    Names,
    Networks,
    PostgresUrl,
    Section,
    Unserved,
    section,
    setting,
)
from manifold_common.settings.problem import Problem
from manifold_common.settings.projects import Projects
from manifold_common.settings.source import SettingsSource

S = TypeVar("S", bound=Section)

_ON_LAMBDA: Mapping[str, Any] = {
    "workdir": Path("/tmp/manifold"),  # noqa: S108 - Lambda gives no other place; it is the function's own
    "database_connect_seconds": 3.0,
    "projects.workspace.mode": "ephemeral",
    "projects.workspace.tmpfs_dir": Path("/tmp/manifold-sets"),  # noqa: S108
}
"""Defaults of a function that differ from those of a host."""

_NO_SIGN_IN = Unserved("this release has no sign-in")
_NO_SKILLS = Unserved("this release does not read skills", harmless=True)
_NO_LANGUAGE_MODEL = Unserved("this release talks to no language model")
_NO_TELEMETRY = Unserved("this release sends no telemetry")
_NO_REPORTS = Unserved("this release reads nothing from ClickHouse", harmless=True)


class Server(Section):
    """The HTTP server of `manifold up`."""

    host: str = setting("127.0.0.1", "Address to listen on. `0.0.0.0` accepts connections from other machines.")
    port: int = setting(32180, "TCP port to listen on. 0 lets the system choose.", ge=0, le=65535)
    public_url: HttpUrl | None = setting(None, "Address under which clients reach this server, for links in events.")
    patience_seconds: float = setting(
        5.0,
        "How long a request to the API waits for one dependency (store, key provider, database, lock) before it is "
        "answered that this is unavailable, in seconds. Bytes that have to be moved may take longer, at 512 KiB a "
        "second. 0: as long as background work waits.",
        ge=0,
        le=600,
    )
    max_upload_bytes: Bytes = setting(10 * 2**30, "Largest request body, in bytes. 0 means no limit.", ge=0)
    max_connections: int = setting(
        1024,
        "Most connections at once. Over it, a few more are taken for `/health`, `/livez` and `/readyz`; other "
        "requests on them are answered with 503.",
        ge=1,
        le=100_000,
    )
    max_connections_per_peer: int = setting(
        256,
        "Most connections of one client address (an IPv6 network of 64 bits counts as one). Over it: 429.",
        ge=1,
        le=100_000,
    )
    max_requests: int = setting(512, "Most requests under way at once. Over it: 503.", ge=1, le=100_000)
    max_requests_per_peer: int = setting(
        128, "Most requests under way of one client address. Over it: 429.", ge=1, le=100_000
    )
    trusted_proxies: Networks = setting(
        (),
        "Addresses or networks of proxies in front of this server, such as `10.0.0.0/8`: their connections are not "
        "counted as one client's, and the client of a request is the last address in `X-Forwarded-For` that is none of "
        "them.",
    )
    max_buffered_bytes: Bytes = setting(
        256 * 2**20,
        "Memory for bodies and answers that are being sent, of all clients together, in bytes. When it is used up, "
        "transfers whose clients have stood still are ended.",
        ge=16 * 2**20,
    )
    head_seconds: float = setting(
        10.0, "Time that a client has to send a request's line and headers, in seconds.", gt=0, le=600
    )
    idle_seconds: float = setting(
        30.0, "How long a connection is kept open between two requests, in seconds.", gt=0, le=3600
    )
    stall_seconds: float = setting(
        30.0,
        "Span over which a client's pace is measured, in seconds: the longest that it may send or take nothing in the "
        "middle of a body.",
        gt=0,
        le=600,
    )
    min_bytes_per_second: int = setting(
        4096, "Slowest pace at which a client may send a body or take an answer. 0: it must only not stand still.", ge=0
    )
    shutdown_seconds: float = setting(
        20.0, "Time given to running requests and background work at shutdown, in seconds.", ge=0, le=3600
    )


class Skills(Section):
    """Skills that agents find in a project's skills folders."""

    redis_cache_ttl_seconds: int = setting(
        3600,
        "How long a rendered prompt stays in Redis, in seconds. 0 turns this cache off.",
        ge=0,
        le=30 * 86400,
        unserved=_NO_SKILLS._replace(so=0),
    )
    use_s3_loader: bool = setting(
        True,
        "Read skills straight from the S3 store, without a checkout of the whole project.",
        unserved=_NO_SKILLS._replace(so=False),
    )


class Llm(Section):
    """The language model service, OpenAI or compatible."""

    api_key: SecretStr | None = setting(
        None, "Key of the service.", env="OPENAI_API_KEY", unserved=_NO_LANGUAGE_MODEL._replace(harmless=True)
    )
    base_url: HttpUrl = setting(
        "https://api.openai.com/v1",
        "Address of the service; change it for a compatible one.",
        env="OPENAI_BASE_URL",
        unserved=_NO_LANGUAGE_MODEL._replace(harmless=True),
    )
    model: str = setting(
        "gpt-4.1",
        "Model that agents use unless a request names one.",
        env="OPENAI_MODEL",
        unserved=_NO_LANGUAGE_MODEL._replace(harmless=True),
    )
    timeout_seconds: float = setting(120.0, "Longest wait for an answer, in seconds.", gt=0, le=3600)
    max_retries: int = setting(2, "How often a failed request is sent again.", ge=0, le=20)


class Auth(Section):
    """Sign-in with OpenID Connect, and roles."""

    enabled: bool = setting(
        False,
        "Require sign-in. Off, every request acts as the one local user.",
        unserved=_NO_SIGN_IN._replace(
            so=False,
            instead="remove it, and let only those reach the server whom you trust: a proxy that signs users in, on "
            "AWS the gateway with ApiAuthorization=AWS_IAM, else this machine alone",
        ),
    )
    issuer_url: HttpUrl | None = setting(None, "Issuer of the identity provider; its discovery document is read.")
    client_id: str | None = setting(None, "Client id of Manifold at the identity provider.")
    client_secret: SecretStr | None = setting(None, "Client secret. Unset for a public client with PKCE.")
    audience: str | None = setting(None, "Audience that access tokens must name. Unset: the client id.")
    scopes: Names = setting(("openid", "profile", "email"), "Scopes asked for at sign-in.")
    user_claim: str = setting("sub", "Claim that identifies the user.")
    tenant_claim: str | None = setting(None, "Claim that names the tenant. Unset: everyone is in the default tenant.")
    roles_claim: str = setting("roles", "Claim that lists the user's roles or groups; dots reach into nested claims.")
    admin_roles: Names = setting(("manifold-admin",), "Values of the roles claim that grant administration.")
    editor_roles: Names = setting(("manifold-editor",), "Values of the roles claim that grant reading and writing.")
    viewer_roles: Names = setting(("manifold-viewer",), "Values of the roles claim that grant reading.")
    session_secret: SecretStr | None = setting(
        None, "Key that signs browser sessions, at least 32 characters; the same on every node."
    )
    session_seconds: int = setting(8 * 3600, "Life of a browser session, in seconds.", ge=60, le=30 * 86400)
    jwks_cache_seconds: int = setting(
        300, "How long the identity provider's public keys are kept, in seconds.", ge=10, le=86400
    )


class Otel(Section):
    """Traces, metrics and logs over OpenTelemetry."""

    service_name: str = setting(
        "manifold", "Name of this service in telemetry.", unserved=_NO_TELEMETRY._replace(harmless=True)
    )
    endpoint: HttpUrl | None = setting(
        None,
        "Collector, for example `http://otel-collector:4318`. Unset: no telemetry is sent.",
        env="OTEL_EXPORTER_OTLP_ENDPOINT",
        unserved=_NO_TELEMETRY._replace(harmless=True),
    )
    protocol: Literal["http/protobuf", "grpc"] = setting(
        "http/protobuf",
        "Protocol spoken to the collector.",
        env="OTEL_EXPORTER_OTLP_PROTOCOL",
        unserved=_NO_TELEMETRY._replace(harmless=True),
    )
    headers: SecretStr | None = setting(
        None,
        "Headers for the collector, as `name=value,name=value`.",
        env="OTEL_EXPORTER_OTLP_HEADERS",
        unserved=_NO_TELEMETRY._replace(harmless=True),
    )
    sample_ratio: float = setting(
        1.0, "Share of traces that are kept, from 0 to 1.", ge=0, le=1, unserved=_NO_TELEMETRY._replace(so=0)
    )
    metrics_interval_seconds: float = setting(30.0, "Time between two metric exports, in seconds.", ge=1, le=3600)


class Clickhouse(Section):
    """The database that the collector writes to, read for reports."""

    dsn: SecretStr | None = setting(None, "Address, for example `tcp://clickhouse:9000?database=otel`.")


class Remote(Section):
    """A server that the command line works with, instead of a Manifold of this machine."""

    url: HttpUrl | None = setting(
        None, "Address of the server, before `/api`. Unset: this machine.", env="MANIFOLD_REMOTE"
    )
    signing: Literal["none", "aws"] = setting(
        "none",
        "`aws`: sign requests with the AWS credentials of this machine, for a gateway that wants it.",
        env="MANIFOLD_REMOTE_SIGNING",
    )
    region: str = setting("us-east-1", "Region of the gateway.", fallback=("AWS_REGION", "AWS_DEFAULT_REGION"))
    timeout_seconds: float = setting(60.0, "Longest wait for an answer, in seconds.", gt=0, le=900)
    private_store: bool = setting(
        False,
        "The server's object store is in this machine's own network, though the server is not: its links may lead to "
        "private addresses.",
        env="MANIFOLD_REMOTE_PRIVATE_STORE",
    )


class Aws(Section):
    """Access to AWS: S3 and KMS, and what functions call by themselves: SQS, to wake the fan-out, and Secrets Manager.
    Lambda sets these variables.
    """

    region: str | None = setting(None, "Region.", env=("AWS_REGION", "AWS_DEFAULT_REGION"))
    access_key_id: str | None = setting(
        None,
        "Access key. Unset: what the AWS tools would take: `AWS_PROFILE` and its files, SSO, `credential_process`, web "
        "identity, container and instance credentials.",
        in_file=True,
    )
    secret_access_key: SecretStr | None = setting(None, "Secret of the access key.")
    session_token: SecretStr | None = setting(None, "Token of temporary credentials.")
    endpoint_url: HttpUrl | None = setting(None, "Address of SQS and Secrets Manager, if not AWS's own.")


class Functions(Section):
    """Manifold as AWS Lambda functions."""

    name: str | None = setting(
        None,
        "Name of the function, which Lambda sets. With it, folders are made below `/tmp`, working sets are ephemeral, "
        "and their folder need not be in RAM, since Lambda has none: the platform encrypts and drops `/tmp`.",
        env="AWS_LAMBDA_FUNCTION_NAME",
    )
    memory_mib: int | None = setting(
        None,
        "Memory of the function in MiB, which Lambda sets.",
        env="AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        ge=1,
    )
    nudge_queue_url: HttpUrl | None = setting(
        None, "SQS queue that wakes the fan-out after a change. Unset: events wait for its next scheduled run."
    )
    reencrypt_queue_url: HttpUrl | None = setting(
        None,
        "SQS queue that wakes the function `reencrypt` when a job about keys has something to do. Unset: such jobs "
        "wait for its next scheduled run.",
    )
    reencrypt_workers: int = setting(
        2, "How many of that queue's messages are worked on at once: its `MaximumConcurrency` on Lambda.", ge=1, le=100
    )
    maintenance_queue_url: HttpUrl | None = setting(
        None,
        "SQS queue that wakes the function `maintenance` when a job about content has something to do. Unset: such "
        "jobs wait for its next scheduled run.",
    )
    maintenance_workers: int = setting(
        2, "How many of that queue's messages are worked on at once: its `MaximumConcurrency` on Lambda.", ge=1, le=100
    )
    partial_batches: bool = setting(
        False,
        "The Kafka source that calls this function is in provisioned mode and asks which records of a batch failed. "
        "Off: a batch with a record that failed fails as a whole.",
    )
    secrets_id: str | None = setting(
        None,
        "Name or ARN of a secret in AWS Secrets Manager: a JSON object whose fields are variables of this page. They "
        "count less than the environment and more than files.",
        env="MANIFOLD_SECRETS_ID",
    )


class Settings(Section):
    """The whole configuration of one process. Made by ``load_settings``; passed down, never read from the side."""

    workdir: Directory = setting(
        Path("/app/manifold"),
        "Base folder: legacy working sets, the local store, the cache, the embedded database. "
        "On Lambda: `/tmp/manifold`.",
    )
    database_url: PostgresUrl | None = setting(
        None,
        "PostgreSQL, as `postgresql://user:password@host:5432/name`. "
        "Unset: an embedded server with its data in `<workdir>/.postgres`.",
    )
    database_password: SecretStr | None = setting(
        None,
        "Password for a database URL that names a user and no password; needs no percent-encoding here.",
        fallback=("POSTGRES_PASSWORD",),
    )
    database_pool_max: int = setting(10, "Most connections to PostgreSQL per process.", ge=1, le=1000)
    database_timeout_seconds: float = setting(
        10.0, "Longest wait for a free connection or one statement, in seconds.", gt=0, le=600
    )
    database_connect_seconds: float = setting(
        10.0,
        "Longest to go on trying to open a connection while PostgreSQL is away or has none left, in seconds. "
        "On Lambda: 3.",
        gt=0,
        le=600,
    )
    database_idle_seconds: float = setting(
        60.0,
        "A connection that was not needed for so long is closed; one stays open. "
        "0: a function closes that one too when an invocation ends.",
        ge=0,
        le=86_400,
    )
    database_prepare: bool = setting(
        False,
        "Keep statements prepared in sessions of the server that `databaseUrl` names. Not behind a pooler, where it is "
        "refused. The embedded server's always are.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting("info", "Least severe messages that are logged.")
    log_payloads: bool = setting(
        False,
        "Also log requests to and answers from the language model. Never secrets; "
        "never project content while encryption is on.",
        unserved=_NO_LANGUAGE_MODEL._replace(harmless=True, so=False),
    )
    server: Server = section(Server)
    projects: Projects = section(Projects)
    skills: Skills = section(Skills, unserved=_NO_SKILLS)
    llm: Llm = section(Llm, unserved=_NO_LANGUAGE_MODEL)
    auth: Auth = section(Auth, unserved=_NO_SIGN_IN)
    otel: Otel = section(Otel, unserved=_NO_TELEMETRY)
    clickhouse: Clickhouse = section(Clickhouse, unserved=_NO_REPORTS)
    remote: Remote = section(Remote)
    functions: Functions = section(Functions)
    aws: Aws = section(Aws)

    _sources: dict[str, str] = PrivateAttr(default_factory=dict)
    _source: SettingsSource[Settings] | None = PrivateAttr(default=None)
    _warnings: list[Problem] = PrivateAttr(default_factory=list)
    _variables: dict[str, tuple[str, str | None]] = PrivateAttr(default_factory=dict)
    _config_file: Path | None = PrivateAttr(default=None)

    @property
    def sources(self) -> Mapping[str, str]:
        """Where each value came from, by key: ``config.yaml:12``, ``variable X``, ``.env:3 (X)`` or ``default``.

        Empty when the object was not made by ``load_settings``.
        """
        return self._sources

    @property
    def variables(self) -> Mapping[str, tuple[str, str | None]]:
        """Which variables, of the process or of ``.env``, set something: the key, and the value, unless it is secret or
        came from a file that the variable names."""
        return self._variables

    @property
    def config_file(self) -> Path | None:
        """The file that was read."""
        return self._config_file

    @property
    def source(self) -> SettingsSource[Settings] | None:
        """What reads them again; ``None`` when the object was not made by ``load_settings``."""
        return self._source

    @property
    def warnings(self) -> Sequence[Problem]:
        """What was given and has no effect yet.

        Empty when the object was not made by ``load_settings``.
        """
        return self._warnings

    @property
    def own_folders(self) -> list[Path]:
        """Where a process keeps data of its own on this machine."""
        projects = self.projects
        folders = [self.workdir, projects.workspace.cache_dir, projects.workspace.tmpfs_dir]
        if projects.encrypt and projects.encryption.provider == "file":
            folders.append(projects.encryption.file.keystore_path)
        if projects.backend == "filesystem":
            folders.append(projects.filesystem.root)
        return folders

    @model_validator(mode="after")
    def _derive(self) -> Settings:
        others = _ON_LAMBDA if self.functions.name is not None else {}
        for name in others.keys() & (type(self).model_fields.keys() - self.model_fields_set):
            object.__setattr__(self, name, others[name])
        facts = {"workdir": str(self.workdir), "uid": str(os.getuid())}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, Section):
                object.__setattr__(self, name, _fill_in_defaults(value, name, facts, others))
        if self.database_url is not None and self.database_password is not None:
            url = _with_password(self.database_url.get_secret_value(), self.database_password.get_secret_value())
            object.__setattr__(self, "database_url", SecretStr(url))
        return self


def _fill_in_defaults(part: S, place: str, facts: Mapping[str, str], others: Mapping[str, Any]) -> S:
    """Return ``part`` with the placeholders of its default paths replaced, and the defaults of ``others``. What was
    set stays as it is."""
    changes: dict[str, Any] = {}
    for name in type(part).model_fields:
        value, here = getattr(part, name), f"{place}.{name}"
        if isinstance(value, Section):
            changes[name] = _fill_in_defaults(value, here, facts, others)
        elif name in part.model_fields_set:
            continue
        elif here in others:
            changes[name] = others[here]
        elif isinstance(value, Path):
            changes[name] = Path(str(value).format_map(facts))
    return part.model_copy(update=changes)


def _with_password(url: str, password: str) -> str:
    parts = urlsplit(url)
    if parts.username is None or parts.password is not None:
        return url
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.removesuffix(':')}:{quote(password, safe='')}@{host}"))
