"""The shell of somebody who follows the deployment guide: a checkout, ``.env``, and the programs it names."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.containers.engine import Engine, say
from tests.containers.place import FOLDER, ROOT
from tests.support.tools import tools
from tests.support.up import CLIENT_PROGRAMS
from tests.support.waiting import wait_until

SECONDS = 300
PROGRAMS = Path(sys.executable).parent


class Operator:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.checkout = FOLDER / "checkout"
        self._programs = FOLDER / "programs"
        self._copy_project()
        self._offer_programs()

    def run(self, command: str, *, succeeds: bool = True, quiet: bool = False, outside: bool = False) -> str:
        """Run a line of shell at the top of the checkout; return what it prints, on both streams."""
        if not quiet:
            say(f"$ {command}")
        began = time.monotonic()
        done = subprocess.run(
            [*(self._engine.host_network if outside else []), "bash", "-euo", "pipefail", "-c", command],
            cwd=self.checkout,
            env={**self._environ, "DOCKER_HOST": self._engine.builder_url if outside else self._engine.url},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            pass_fds=[self._engine.host_network_fd],
            check=False,
        )
        if time.monotonic() - began > 5:
            say(f"  took {time.monotonic() - began:.0f} s")
        failed = f"exit code {done.returncode} of {command}\n{done.stdout}"
        if (done.returncode == 0) is not succeeds:
            say(failed)
        assert (done.returncode == 0) is succeeds, failed
        return done.stdout

    def enter_secret(self, command: str, secret: str) -> str:
        """Run a command at a terminal, and type ``secret`` when it asks for something; return what it shows."""
        say(f"$ {command}")
        screen, terminal = pty.openpty()
        with subprocess.Popen(
            command, shell=True, cwd=self.checkout, env={**self._environ, "DOCKER_HOST": self._engine.url},
            stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
        ) as program:  # fmt: skip
            os.close(terminal)
            shown, asked = b"", False
            with contextlib.suppress(OSError):  # how a terminal says that its last program is gone
                while select.select([screen], [], [], SECONDS)[0] and (data := os.read(screen, 4096)):
                    shown += data
                    if not asked and b"hidden" in shown:
                        os.write(screen, f"{secret}\r".encode())
                        asked = True
            os.close(screen)
        assert program.returncode == 0, shown.decode()
        return shown.decode()

    def build(self, command: str) -> str:
        """Run a command that builds something, where package registries can be reached."""
        return self.run(command, outside=True)

    def wait_until_up(self, compose: str, seconds: float = 180) -> dict[str, str]:
        """Wait until every container is healthy, or has done what it is for. Return them all, with their states."""
        deadline = time.monotonic() + seconds
        while True:
            states = self.states(compose)
            if all(state in ("healthy", "exited 0") for state in states.values()):
                return states
            if time.monotonic() > deadline:
                logs = self.run(f"{compose} logs --tail 30", quiet=True)
                raise AssertionError(f"not up in {seconds} s: {states}\n{logs}")
            time.sleep(0.5)

    @staticmethod
    def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
        wait_until(condition, seconds)

    def states(self, compose: str) -> dict[str, str]:
        """Return the containers of a project, and of each its health, or how it ended."""
        lines = self.run(f"{compose} ps --all --format json", quiet=True).splitlines()
        found = [json.loads(line) for line in lines]
        return {
            one["Name"]: f"exited {one['ExitCode']}" if one["State"] == "exited" else one["Health"] or one["State"]
            for one in found
        }

    def write_env(self, **values: str) -> None:
        """``cp example.env .env``, then fill in."""
        lines = (self.checkout / "example.env").read_text().splitlines()
        lines = [line for line in lines if line.partition("=")[0] not in values]
        lines += [f"{name}={value}" for name, value in values.items()]
        (self.checkout / ".env").write_text("\n".join(lines) + "\n")

    @property
    def _environ(self) -> dict[str, str]:
        return {
            "PATH": f"{self._programs}:{CLIENT_PROGRAMS}:{os.environ['PATH']}",
            "HOME": str(FOLDER / "home"),
            "DOCKER_BUILDKIT": "0",  # podman builds by itself
        }

    def _copy_project(self) -> None:
        """What git has, and what is about to be added to it."""
        shutil.rmtree(self.checkout, ignore_errors=True)
        (FOLDER / "home").mkdir(exist_ok=True)
        names = self._engine.run(["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        for name in filter(None, names.split("\0")):
            if (ROOT / name).is_file():
                (self.checkout / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.checkout / name)

    def _offer_programs(self) -> None:
        self._programs.mkdir(exist_ok=True)
        self._offer("docker", 'exec podman --remote --url "$DOCKER_HOST" "$@"')
        self._offer("docker-compose", f'exec "{tools().folder / "bin/docker-compose"}" "$@"')
        self._offer("vault", f'exec "{PROGRAMS / "bao"}" "$@"')
        self._offer("mc", f'PYTHONPATH="{ROOT}" exec "{sys.executable}" -m tests.containers.mc "$@"')
        self._offer("redis-cli", 'exec valkey-cli "$@"')
        java = 'exec java -Xmx128m -XX:TieredStopAtLevel=1 -cp "{jars}/*" {tool} "$@"'
        tool = "org.apache.kafka.tools.BrokerApiVersionsCommand"
        self._offer("kafka-broker-api-versions", java.format(jars=FOLDER / "jars" / "kafka", tool=tool))

    def _offer(self, name: str, script: str) -> None:
        program = self._programs / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
