"""The command line, ``manifold``: the services of this process, with or without a running host beside it.

Nothing is imported before it is needed: a command starts in the time that its own work takes.
"""

from __future__ import annotations


def main() -> int:
    """Run the command that the program's arguments name; return its exit code (docs/cli.md lists them)."""
    from manifold_local.cli.interrupts import end_in_order, exit_code, pass_over_from_now_on
    from manifold_local.streams import drop_output, take_streams

    take_streams()
    end_in_order()
    try:
        from manifold_local.cli.run import run

        code = run()
        pass_over_from_now_on()
        return code
    except KeyboardInterrupt as error:
        drop_output()
        return exit_code(error)
