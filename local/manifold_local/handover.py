"""What a process in another shell needs, to mean the same installation with the same settings."""

from __future__ import annotations

import shlex
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manifold_common.settings import Settings, describe_settings

_OF_THE_HOST_ALONE = "server."
"""Settings below it say nothing to commands."""


@dataclass(frozen=True, slots=True)
class Handover:
    """Holds no secret: those that came from variables have to be given again."""

    variables: dict[str, str]
    secrets: dict[str, str] = field(default_factory=dict)
    """Variables that hold secrets or name files with what belongs to one, and the setting that each sets."""
    unset: list[str] = field(default_factory=list)
    """Variables that would count before what the configuration file says."""


def handover(settings: Settings, *, config: Path | None = None, asked: Settings | None = None) -> Handover:
    """Return what leads to ``settings``.

    Args:
        config: the file that holds what the program has set by itself, and
        asked: what it was asked for before it did.
    """
    file = config or settings.config_file
    variables = {"WORKDIR": str(settings.workdir)}
    if file is not None:
        variables["MANIFOLD_CONFIG"] = str(file.absolute())
    secrets: dict[str, str] = {}
    for name, (key, value) in settings.variables.items():
        if key == "workdir" or key.startswith(_OF_THE_HOST_ALONE):
            continue
        if value is None:
            secrets[name] = key
        else:
            variables[name] = value
    unset: list[str] = []
    for name, (key, value) in (asked.variables if asked else {}).items():
        if settings.variables.get(name) is None and key != "workdir":
            if value is None:
                unset.append(name)
            else:
                (setting,) = (one for one in describe_settings() if one.key == key)
                variables[name] = _as_variable(setting.value(settings))
    return Handover(variables, secrets, unset)


def shell_lines(given: Handover) -> list[str]:
    """Return what makes a shell (sh, bash, zsh) one in which ``manifold`` works with the same installation."""
    folder = Path(sys.executable).parent
    found = shutil.which("manifold")
    lines = []
    if (folder / "manifold").exists() and (found is None or Path(found) != folder / "manifold"):
        lines.append(f'export PATH={shlex.quote(str(folder))}:"$PATH"')
    lines.append("export " + " ".join(f"{name}={shlex.quote(value)}" for name, value in given.variables.items()))
    if given.unset:
        lines.append("unset " + " ".join(given.unset))
    return lines


def _as_variable(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
