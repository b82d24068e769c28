"""Everything that functions need, running: the servers of enterprise mode, the stand-in for AWS, the functions on it.

Projects are those of ``manifold up --enterprise`` with the same WORKDIR; one of the two can run at a time.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifold_common.bootstrap import migrate_catalog, set_up_roles
from manifold_common.errors import ConfigError
from manifold_common.settings import Settings

from manifold_local.embedded.postgres import ensure_embedded
from manifold_local.embedded.stack.child import usual_port
from manifold_local.embedded.stack.stack import Running, running_stack
from manifold_local.functions_stack.deploy import STACK, build, deploy, keep_secrets, parameters
from manifold_local.functions_stack.front_door import FrontDoor
from manifold_local.functions_stack.ministack import Ministack
from manifold_local.functions_stack.tools import Tools
from manifold_local.handover import Handover, handover
from manifold_local.host.port import reserve
from manifold_local.running import RunningServer, noted
from manifold_local.runtime import EMBEDDED_FOLDER, prepare_workdir

FOLDER = "functions"
AWS_PORT = 4566


@dataclass(frozen=True)
class FunctionsStack:
    url: str
    """Of the HTTP API."""
    handover: Handover
    """What leads commands to the same servers."""
    settings: Settings
    """Of the same servers, for a Manifold beside the functions: its database is ``dsn``."""
    dsn: str
    aws: Ministack
    servers: list[Running]
    overruled: list[str]
    """What was set and counts less than these servers: a sentence each."""

    def invoke(self, function: str, event: Any) -> Any:
        """Return a function's answer to an event. Raises FunctionFailed."""
        with self.aws.client("lambda") as functions:
            answer = functions.invoke(FunctionName=f"{STACK}-{function}", Payload=json.dumps(event).encode())
            content = json.loads(answer["Payload"].read() or b"null")
        if "FunctionError" in answer:
            raise FunctionFailed(function, content)
        return content

    def logs(self, function: str) -> list[str]:
        """Return what a function has logged."""
        with self.aws.client("logs") as logs:
            pages = logs.get_paginator("filter_log_events").paginate(logGroupName=f"/aws/lambda/{STACK}-{function}")
            return [str(event["message"]) for page in pages for event in page["events"]]


class FunctionFailed(Exception):
    """A function raised an error; ``content`` is what Lambda says of it."""

    def __init__(self, function: str, content: Any) -> None:
        super().__init__(f"{function}: {content}")
        self.content = content


@contextmanager
def running_functions_stack(
    settings: Settings, tools: Tools, *, progress: Callable[[str], object] = len
) -> Iterator[FunctionsStack]:
    """Build and deploy the functions, and yield when their API answers. For the main thread: the servers end with it.

    Raises:
        ConfigError: servers are not installed, or ``settings`` name a database. AlreadyExists: the port is taken, or
            the servers of this WORKDIR run already. Unavailable: something does not start, build or deploy.
    """
    if settings.database_url is not None:
        raise ConfigError(
            f"{settings.sources['databaseUrl']}: databaseUrl is set, and these functions have a database of their own",
            hint="leave it out: their data are in WORKDIR",
        )
    prepare_workdir(settings)
    folder = settings.workdir / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    with ExitStack() as stack:
        listener = stack.enter_context(reserve(settings.server.host, settings.server.port))
        url = f"http://{settings.server.host}:{listener.getsockname()[1]}"
        progress("building the artifacts")
        template = build(tools, folder)
        progress("starting the servers")
        servers = stack.enter_context(running_stack(settings))
        prepare_workdir(servers.settings)
        postgres = ensure_embedded(servers.settings.workdir / EMBEDDED_FOLDER)
        stack.callback(postgres.close, stop_now=True)
        migrate_catalog(postgres.dsn)
        set_up_roles(postgres.dsn)
        ram = stack.enter_context(_ram_folder(settings))
        aws = Ministack(_made(folder / "aws"), ram, tools, port=usual_port(AWS_PORT))
        stack.callback(aws.stop)
        aws.start()
        progress("deploying the functions")
        keep_secrets(aws, servers.settings, postgres.dsn)
        values = parameters(servers.settings, url)
        api_id = deploy(tools, aws, template, values, folder)
        stack.enter_context(FrontDoor(listener, aws.url, api_id))
        table = [
            Running("HTTP API", url, None, aws.child.log),
            Running("AWS (ministack)", aws.url, aws.child.pid, aws.child.log),
            *servers.table(),
        ]
        given = handover(servers.settings, config=servers.config, asked=settings)
        stack.enter_context(noted(RunningServer(url, given)))
        yield FunctionsStack(url, given, servers.settings, postgres.dsn, aws, table, servers.overruled)


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@contextmanager
def _ram_folder(settings: Settings) -> Iterator[Path]:
    """Yield a folder for the working sets of functions, beside that of a host, which would take it for its own."""
    folder = Path(tempfile.mkdtemp(prefix="manifold-functions-", dir=settings.projects.workspace.tmpfs_dir.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
