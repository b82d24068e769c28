"""What ``manifold up`` says once it serves: where, how it may be used, and by whom."""

from __future__ import annotations

import sys
from typing import TextIO

from manifold_common.bootstrap import Manifold
from manifold_common.settings import Settings

from manifold_local.handover import Handover, shell_lines
from manifold_local.host.port import is_loopback
from manifold_local.streams import OutputLost, drop_output

_RULE = "!" * 78


def welcome(settings: Settings, manifold: Manifold, url: str, given: Handover, out: TextIO | None = None) -> None:
    """Print where the server is, what makes a shell work with it, commands to start with, and who can reach it."""
    stream = out or sys.stdout
    projects = settings.projects
    sealed = "encrypted" if projects.encrypt else "plaintext"
    lines = [
        f"Manifold is ready at {url}",
        f"  projects: {projects.backend}, {sealed}; working sets: {projects.workspace.mode}; data: {settings.workdir}",
        "",
        *in_a_shell(given),
        "Then:",
        "  manifold import my-project ./folder --create    put a folder in",
        "  manifold checkout my-project                    get a working directory",
        f"  curl {url}/api/v1/projects",
        "",
        *_who(settings.server.host),
        *(f"Warning: {text}" for text in manifold.warnings),
        "Stop with Ctrl-C.",
    ]
    try:
        print("\n".join(lines), file=stream, flush=True)
    except OutputLost:
        drop_output()  # the host serves all the same


def in_a_shell(given: Handover) -> list[str]:
    """Say what to type in another shell."""
    lines = ["In another shell (sh, bash, zsh):", *(f"  {line}" for line in shell_lines(given))]
    if given.secrets:
        lines.append(f"  and set {', '.join(given.secrets)}, which is not shown, as for this process.")
    return lines


def _who(host: str) -> list[str]:
    if is_loopback(host):
        return [f"There is no sign-in yet. Only programs on this machine can connect, since it listens on {host}."]
    return [
        _RULE,
        f"There is no sign-in yet, and server.host is {host}: EVERYONE WHO CAN REACH THIS MACHINE",
        "can read, change and delete every project. Keep other machines out with a firewall",
        "or a proxy that asks for a sign-in, or set server.host to 127.0.0.1.",
        _RULE,
    ]
