"""``make up-functions``: serve until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from manifold_common.descriptors import occupy_descriptors
from manifold_common.errors import ManifoldError
from manifold_common.settings import load_settings

from manifold_local.embedded.stack.stack import Running
from manifold_local.functions_stack.deploy import STACK
from manifold_local.functions_stack.stack import FunctionsStack, running_functions_stack
from manifold_local.functions_stack.tools import FOLDER, find_tools
from manifold_local.host.welcome import in_a_shell

_CHECK_SECONDS = 1.0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m manifold_local.functions_stack", description=__doc__)
    parser.add_argument("--tools", type=Path, default=FOLDER, help="environment that 'make tools' has made")
    options = parser.parse_args(arguments)
    occupy_descriptors()
    stopping = threading.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, lambda *_: stopping.set())
    try:
        settings = load_settings()
        for warning in settings.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        with running_functions_stack(settings, find_tools(options.tools), progress=_say) as stack:
            for sentence in stack.overruled:
                print(f"warning: {sentence}", file=sys.stderr)
            print("\n".join(_welcome(stack)), flush=True)
            while not stopping.wait(_CHECK_SECONDS):
                if not stack.aws.child.is_running():
                    print(f"error: the stand-in for AWS has ended; its log is {stack.aws.child.log}", file=sys.stderr)
                    return 1
            _say("stopping")
    except ManifoldError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return 1
    return 0


def _say(text: str) -> None:
    print(f"{text} ...", flush=True)


def _welcome(stack: FunctionsStack) -> list[str]:
    return [
        *_table(stack.servers),
        "",
        f"Manifold's functions are ready at {stack.url}",
        *in_a_shell(stack.handover),
        "Then:",
        f"  curl {stack.url}/health",
        f"  curl {stack.url}/api/v1/projects",
        f"  AWS_ENDPOINT_URL={stack.aws.url} names the stand-in for sam, aws and boto3; any credentials do.",
        f"  Functions are {STACK}-api, {STACK}-checkout and so on; log groups are /aws/lambda/<function>.",
        "There is no sign-in: only programs on this machine can connect. Stop with Ctrl-C.",
    ]


def _table(servers: list[Running]) -> list[str]:
    rows = [("WHAT", "ADDRESS", "PID", "LOG")]
    rows += [(one.what, one.address, str(one.pid or "-"), str(one.log)) for one in servers]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]) for row in rows]


if __name__ == "__main__":
    sys.exit(main())
