"""Settings as text: masked values for people, and the reference page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import SecretStr

from manifold_common.settings.catalogue import Setting, describe_settings, groups
from manifold_common.settings.fields import Unserved
from manifold_common.settings.model import Settings

MASK = "********"


def masked(settings: Settings) -> dict[str, Any]:
    """Return all values in force, nested by key and ready for YAML or JSON; a secret that is set is ``********``.

    What is not served yet is in force nowhere, and left out.
    """
    root: dict[str, Any] = {}
    for setting in describe_settings():
        if setting.unserved is not None:
            continue
        *sections, last = setting.key.split(".")
        place = root
        for name in sections:
            place = place.setdefault(name, {})
        place[last] = _plain(setting.value(settings))
    return root


def _plain(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return MASK if value and isinstance(value[0], SecretStr) else list(value)
    return value


_INTRODUCTION = """\
# Configuration

<!-- Generated from the settings model by `python -m manifold_common.settings`. Do not edit. -->

Manifold takes each setting from the strongest source that sets it:

1. an environment variable,
2. on AWS Lambda, a field of the secret that `MANIFOLD_SECRETS_ID` names,
3. a line of the file `.env`,
4. the configuration file,
5. the default.

**Configuration file.** `--config FILE`, else the file named by the environment variable `MANIFOLD_CONFIG`, else
`config.yaml` in the current folder if there is one. It is YAML with the keys below; `projects.s3.bucket` is the key
`bucket` in `s3` in `projects`. An unknown key, a key set twice, an anchor or a tag is an error.

**`.env`.** Read from the folder of the configuration file, else from the current folder. Lines are `NAME=value`. Quotes
keep spaces; single quotes also keep `$` as it is. `MANIFOLD_CONFIG` itself is not read from here.

**Expansion.** In the configuration file and in `.env`, `${NAME}` stands for a variable of the environment or of `.env`,
`${NAME:-default}` falls back to a default when the variable is unset or empty, and `$$` is a plain `$`. `${NAME}` of a
variable that is set nowhere is an error. Environment variables themselves are taken as they are.

**Empty means unset**, everywhere: `REDIS_PASSWORD=` is the same as no line at all, and the next source counts.

**Secrets in files.** A variable that has a twin in `_FILE` may be set by that instead: with
`DATABASE_URL_FILE=/run/secrets/db` the value is what the file holds, as secrets of Docker and Kubernetes come. The twin
counts like the variable itself, in the environment and in `.env`; both in the same place is an error. One line break at
the end is not part of the value; the file must be neither empty nor larger than 64 KiB, and nothing in it is expanded.
The configuration file has no such keys, and a secret of AWS no such fields. A fallback variable of another program that
holds a secret has a twin, too, such as `POSTGRES_PASSWORD_FILE`.

**Secrets that change.** Files are read when the process starts, and again when a server refuses what they held: at most
every 10 seconds while there is nothing new. See [operations](operations.md#rotate-secrets).

**Paths.** `~` is the home folder. A relative path starts at the folder of the file that sets it, or at the current
folder when an environment variable sets it. `<workdir>` stands for the setting `workdir`, `<uid>` for the number of the
user.

**Sizes** are in bytes and may carry a unit: `KB`, `MB`, `GB`, `TB` (powers of 1000) or `KiB`, `MiB`, `GiB`, `TiB`
(powers of 1024). **Lists** are YAML lists or texts separated by commas.

**Not served yet.** Some settings have a description here and no effect yet. Whatever is given for one of them is
refused, by every command, the host and the functions alike: nobody shall rely on what is not there. Those that the
deployment guide or another program gives, and that nobody relies on for protection, are taken with a warning, in the
log of the host or function at its start and by `manifold config check`. A value that asks for what is so anyway, as the
last column says, is taken in silence.

`manifold config check` reports all problems at once, each with its file and line or variable. `manifold config show`
prints the values in force, with secrets masked.
"""

_NEIGHBOURS = """\
## Variables of other programs

These exist for other programs. Where Manifold reads one too, it is the weakest source: it counts only when neither the
setting's own variable nor the configuration file sets the value. The exception is `MINIO_BUCKET`, which counts like
`S3_BUCKET`.

| Variable | What it is for | Manifold reads it as |
|---|---|---|
"""

NEIGHBOUR_USES = {
    "POSTGRES_PASSWORD": "the PostgreSQL container of the compose files",
    "MINIO_ROOT_USER": "the MinIO container of the compose files: its access key",
    "MINIO_ROOT_PASSWORD": "the MinIO container of the compose files: its secret key",
    "MINIO_BUCKET": "the MinIO container of the compose files: the bucket made at first start",
    "VAULT_DEV_ROOT_TOKEN": "the Vault development container of the compose files: its root token",
    "AWS_REGION": "AWS programs and Lambda",
    "AWS_DEFAULT_REGION": "AWS programs",
}


def reference_page() -> str:
    """Return ``docs/configuration.md``."""
    parts = [_INTRODUCTION]
    for group in groups():
        if group.settings:
            title = f"`{group.key}`" if group.key else "Top level"
            about = "" if not group.key else f"{group.title}\n\n"
            parts.append(f"## {title}\n\n{about}{_table(group.settings)}")
    parts.append(_NEIGHBOURS + "".join(_neighbour(name, use) for name, use in NEIGHBOUR_USES.items()))
    return "\n".join(parts)


def _table(settings: tuple[Setting, ...]) -> str:
    rows = ["| Key | Variable | Type | Default | Description |", "|---|---|---|---|---|"]
    for setting in settings:
        name = setting.key.rpartition(".")[2]
        variables = ", ".join(f"`{variable}`" for variable in setting.variables)
        default = f"`{setting.default}`" if setting.default else ""
        kind = setting.type + (f" ({setting.limits})" if setting.limits else "")
        about = f"{setting.description} {_not_yet(setting.unserved)}" if setting.unserved else setting.description
        rows.append(f"| `{name}` | {variables} | {kind} | {default} | {about} |")
    return "\n".join(rows) + "\n"


def _not_yet(lack: Unserved) -> str:
    outcome = "taken with a warning" if lack.harmless else "refused"
    unless = "" if lack.so is None else f" unless it is `{str(lack.so).lower()}`"
    return f"**Not yet**: {lack.lacks}; {outcome}{unless}."


def _neighbour(name: str, use: str) -> str:
    keys = [f"`{setting.key}`" for setting in describe_settings() if name in (*setting.env, *setting.fallback)]
    return f"| `{name}` | {use} | {', '.join(keys) or 'not read'} |\n"
