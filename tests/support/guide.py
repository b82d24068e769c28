"""The commands of docs/deployment-guide.md in their order, and what each needs to be run.

A walk through the guide takes ``commands()`` and leaves none out: one that no rule knows is an error.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from tests.support.shown import Block, fenced
from tests.support.templates import ROOT

PAGE = ROOT / "docs" / "deployment-guide.md"


class Needs(Enum):
    """What has to be there for a command to do its work."""

    NETWORK = "the place that the repository is cloned from"
    FILES = "a copy of the repository"
    CONTAINERS = "an engine; without one, Compose can still read the command and the files"
    SERVERS = "servers that listen, in containers or not, and their own client programs"
    OPERATOR = "an engine, and what somebody types or keeps meanwhile: unseal keys, a token"


_COMPOSE = r"(?:VAULT_ADMIN_TOKEN=\S+ )?docker-compose (?:-f \S+ )*"
_RULES = (
    (r"git clone ", Needs.NETWORK),
    (r"cd |cp ", Needs.FILES),
    (rf"{_COMPOSE}exec vault vault operator |{_COMPOSE}exec -e VAULT_TOKEN=|VAULT_ADMIN_TOKEN=", Needs.OPERATOR),
    (rf"{_COMPOSE}cp vault:/tmp/vault\.snapshot ", Needs.OPERATOR),
    (rf"{_COMPOSE}exec redis |{_COMPOSE}exec vault |{_COMPOSE}exec manifold ", Needs.SERVERS),
    (r"docker exec postgres pg_dump ", Needs.SERVERS),
    (rf"{_COMPOSE}(?:up|ps|logs|exec|stop|start|run) ?|docker exec ", Needs.CONTAINERS),
    (r"curl |REDISCLI_AUTH=\S+ redis-cli |VAULT_ADDR=\S+ (?:VAULT_TOKEN=\S+ )?vault ", Needs.SERVERS),
    (r"mc |kafka-broker-api-versions ", Needs.CONTAINERS),
)


@dataclass(frozen=True)
class Command:
    text: str
    section: str
    needs: Needs

    @property
    def compose_files(self) -> tuple[str, ...]:
        """What is given to ``docker-compose`` with ``-f``."""
        return tuple(re.findall(r"-f (\S+\.yml)", self.text))


def blocks(page: str | None = None) -> list[Block]:
    return fenced(PAGE.name, page if page is not None else PAGE.read_text())


def commands(page: str | None = None) -> list[Command]:
    """Return the commands of all ``bash`` blocks. Raises LookupError: a command that no rule knows."""
    return [
        Command(line, block.section, needs(line))
        for block in blocks(page)
        if block.language in ("bash", "sh")
        for line in block.text.replace("\\\n", "").splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]


def needs(command: str) -> Needs:
    """Raises LookupError: no rule knows it."""
    for pattern, found in _RULES:
        if re.match(pattern, command):
            return found
    raise LookupError(f"docs/deployment-guide.md has a command that tests/support/guide.py does not know: {command}")


def filled(text: str, values: Mapping[str, str]) -> str:
    """Return ``text`` with each ``<placeholder>`` replaced. Raises KeyError: there is no value for one."""
    return re.sub(r"<([a-z-]+)>", lambda match: shlex.quote(values[match[1]]), text)
