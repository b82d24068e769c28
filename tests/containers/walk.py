"""The guide's commands, typed before a stack of containers."""

from __future__ import annotations

import re

from tests.containers.operator import Operator
from tests.support.guide import Command, Needs, commands, filled


def of_sections(*sections: str) -> list[Command]:
    found = [command for command in commands() if command.section in sections]
    assert {command.section for command in found} == set(sections), "a section of the guide has another name"
    return found


def walk(operator: Operator, steps: list[Command], values: dict[str, str]) -> dict[str, str]:
    """Type each command that servers or an engine are needed for; return what each has printed."""
    said = {}
    for command in steps:
        if command.needs in (Needs.CONTAINERS, Needs.SERVERS):
            said[command.text] = operator.run(_that_ends(filled(command.text, values)))
            if starts := re.match(r"(docker-compose (?:-f \S+ )*)(?:up|start|restart) ", command.text):
                operator.wait_until_up(starts[1].rstrip())
    return said


def _that_ends(command: str) -> str:
    """``logs -f`` goes on until somebody has seen enough."""
    return f"timeout 3 {command} || [ $? = 124 ]" if re.search(r" logs -f\b", command) else command
