"""Rules between settings. Each says what to set, so that a process never starts half configured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from manifold_common.settings.catalogue import describe_settings
from manifold_common.settings.model import Settings


class Finding(NamedTuple):
    """A broken rule: the key to blame first, then the others it depends on."""

    keys: tuple[str, ...]
    message: str
    hint: str


def check(settings: Settings) -> Iterator[Finding]:
    """Yield every rule that ``settings`` breaks."""
    yield from _encryption(settings)
    yield from _vault(settings)
    yield from _s3(settings)
    yield from _events(settings)
    yield from _tls(settings)
    yield from _directories(settings)


def _needs(because: str, *keys: str, reason: tuple[str, ...] = ()) -> Finding:
    variables = {setting.key: setting.env[0] for setting in describe_settings()}
    names = " and ".join(keys)
    return Finding(
        (*keys, *reason),
        f"{because} needs {names}",
        "set " + " and ".join(f"{key} (or the variable {variables[key]})" for key in keys),
    )


def _encryption(settings: Settings) -> Iterator[Finding]:
    projects = settings.projects
    if not projects.encrypt:
        return
    if projects.workspace.mode != "ephemeral":
        yield Finding(
            ("projects.encrypt", "projects.workspace.mode"),
            f"encryption cannot be used with projects.workspace.mode {projects.workspace.mode}, "
            "which keeps plaintext on disk",
            "set projects.workspace.mode to ephemeral (or PROJECTS_WORKSPACE_MODE=ephemeral)",
        )
    provider = ("projects.encrypt", "projects.encryption.provider")
    if projects.encryption.provider == "awskms" and not projects.encryption.awskms.key_id:
        yield _needs("the key provider awskms", "projects.encryption.awskms.keyId", reason=provider)


def _vault(settings: Settings) -> Iterator[Finding]:
    encryption = settings.projects.encryption
    if not settings.projects.encrypt or encryption.provider != "vault":
        return
    base, vault = "projects.encryption.vault", encryption.vault
    reason = ("projects.encrypt", "projects.encryption.provider", f"{base}.auth.method")
    if vault.address is None:
        yield _needs("the key provider vault", f"{base}.address", reason=reason)
    requirements: dict[str, dict[str, object]] = {
        "token": {f"{base}.token": vault.token},
        "approle": {f"{base}.auth.roleId": vault.auth.role_id, f"{base}.auth.secretId": vault.auth.secret_id},
        "kubernetes": {f"{base}.auth.role": vault.auth.role},
    }
    missing = [key for key, value in requirements[vault.auth.method].items() if value is None]
    if missing:
        yield _needs(f"the Vault sign-in method {vault.auth.method}", *missing, reason=reason)


def _s3(settings: Settings) -> Iterator[Finding]:
    s3 = settings.projects.s3
    if settings.projects.backend == "s3" and not s3.bucket:
        yield _needs("the backend s3", "projects.s3.bucket", reason=("projects.backend",))
    credentials = {"projects.s3.accessKeyId": s3.access_key_id, "projects.s3.secretAccessKey": s3.secret_access_key}
    absent = [key for key, value in credentials.items() if value is None]
    if len(absent) == 1:
        (present,) = credentials.keys() - set(absent)
        yield _needs(present, absent[0], reason=(present,))


def _events(settings: Settings) -> Iterator[Finding]:
    events, base = settings.projects.events, "projects.events"
    if events.enabled and not events.brokers:
        yield _needs(f"{base}.enabled", f"{base}.brokers", reason=(f"{base}.enabled",))
    if events.sasl.username is not None and events.sasl.password is None:
        yield _needs(f"{base}.sasl.username", f"{base}.sasl.password", reason=(f"{base}.sasl.username",))
    secret = events.webhooks.secret
    if events.webhooks.urls and secret is None:
        yield _needs(f"{base}.webhooks.urls", f"{base}.webhooks.secret", reason=(f"{base}.webhooks.urls",))
    if secret is not None and len(secret.get_secret_value()) < 16:
        yield Finding((f"{base}.webhooks.secret",), "must be at least 16 characters long", "openssl rand -hex 32")


def _tls(settings: Settings) -> Iterator[Finding]:
    projects = settings.projects
    sections = {
        "projects.encryption.vault.tls": projects.encryption.vault.tls,
        "projects.redis.tls": projects.redis.tls,
        "projects.events.tls": projects.events.tls,
    }
    for base, tls in sections.items():
        if tls.cert_file is not None and tls.key_file is None:
            yield _needs(f"{base}.certFile", f"{base}.keyFile", reason=(f"{base}.certFile",))
        if tls.key_file is not None and tls.cert_file is None:
            yield _needs(f"{base}.keyFile", f"{base}.certFile", reason=(f"{base}.keyFile",))


def _directories(settings: Settings) -> Iterator[Finding]:
    """What must survive, and what must stay sealed, may not share a folder with working sets, which are removed."""
    projects = settings.projects
    if projects.workspace.mode != "ephemeral":
        return
    ram = projects.workspace.tmpfs_dir
    others = {
        "projects.workspace.cacheDir": projects.workspace.cache_dir,
        "projects.filesystem.root": projects.filesystem.root,
        "projects.encryption.file.keystorePath": projects.encryption.file.keystore_path,
    }
    for key, path in others.items():
        if _overlap(ram, path):
            yield Finding(
                ("projects.workspace.tmpfsDir", key),
                f"{ram} overlaps with {key} ({path}); working sets need a folder of their own",
                "choose a folder outside, on a RAM file system",
            )
    if settings.workdir == ram or settings.workdir.is_relative_to(ram):
        yield Finding(
            ("projects.workspace.tmpfsDir", "workdir"),
            f"{ram} contains the workdir ({settings.workdir}); working sets need a folder of their own",
            "choose a folder outside, on a RAM file system",
        )


def _overlap(one: Path, other: Path) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)
