"""``python -m manifold_local.packaging layer|function NAME|sizes FOLDER``; see ``--help``."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from manifold_local.packaging.artifacts import build_function, build_layer
from manifold_local.packaging.sizes import report
from manifold_local.packaging.target import ARCHITECTURES, Target, this_machine
from manifold_local.packaging.wheels import Unpinned


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.command == "sizes":
        wrong = report(options.folder)
        for line in wrong:
            print(f"error: {line}", file=sys.stderr)
        return 1 if wrong else 0
    target = this_machine() if options.python == "local" else Target(options.python, options.architecture)
    try:
        if options.command == "layer":
            build_layer(options.folder, target)
        else:
            build_function(options.name, options.folder, target)
    except (FileNotFoundError, Unpinned) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"error: {' '.join(error.cmd[:4])} failed with code {error.returncode}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m manifold_local.packaging", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (("layer", "build the common layer"), ("function", "build a function")):
        command = commands.add_parser(name, help=text)
        if name == "function":
            command.add_argument("name")
        command.add_argument("folder", type=Path, help="where to; is made")
        command.add_argument("--python", default="local", help="3.13 and the like, for Lambda; local: this one, here")
        command.add_argument("--architecture", choices=ARCHITECTURES, default="x86_64")
    sizes = commands.add_parser("sizes", help="print the size of each package, and fail when Lambda would refuse it")
    sizes.add_argument("folder", type=Path, help="what sam build has made")
    return parser


if __name__ == "__main__":
    sys.exit(main())
