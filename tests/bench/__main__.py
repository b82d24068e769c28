"""``python -m tests.bench``: measure every speed bar, side by side with what it is compared with.

Exit code 0 when everything could be measured, whether the bars hold or not; 1 when something failed; 130 on Ctrl-C.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from tests.bench import report
from tests.bench.corpus import CorpusMissing
from tests.bench.result import Row
from tests.bench.rows import bulk, functions, imports, large, small, writers
from tests.bench.stage import Stage, running_stage

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench-results"
PAGE = ROOT / "docs" / "performance.md"
LIMIT_SECONDS = 20 * 60

ROWS: dict[str, Callable[[Stage], Row]] = {
    "first": bulk.first_commit,
    "cold": bulk.cold_checkout,
    "cached": bulk.cached_checkout,
    "warm": bulk.warm_checkout,
    "refresh": small.refresh,
    "commit10": small.commit_ten,
    "history": small.history,
    "big": large.big_files,
    "many": large.many_files,
    "writers": writers.eight_writers,
    "imports": imports.import_times,
    "functions": functions.emulated_functions,
}
QUICK = ("first", "cold", "cached", "warm", "refresh", "commit10", "imports")


def main() -> int:
    options = _options()
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    if options.read:
        found = json.loads(Path(options.read).read_text())
    else:
        signal.signal(signal.SIGTERM, _interrupt)
        signal.signal(signal.SIGALRM, _too_long)
        signal.alarm(LIMIT_SECONDS)
        try:
            found = _measure(console, options.rows, options.quick, quiet=options.markdown)
        except CorpusMissing as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("stopped; what was started is stopped and removed", file=sys.stderr)
            return 130
        finally:
            signal.alarm(0)
        print(f"written to {report.save(RESULTS, found).relative_to(ROOT)}", file=sys.stderr)
    if options.markdown:
        print(report.markdown(found), end="")
    if options.docs:
        report.write_docs(PAGE, found)
    return 0


def _measure(console: Console, keys: list[str], quick: bool, *, quiet: bool) -> dict[str, Any]:
    begun = datetime.datetime.now(datetime.UTC)
    found: dict[str, Any] = {"at": begun.isoformat(), "commit": _commit(), "quick": quick, "machine": report.machine()}
    rows: list[Row] = []
    with running_stage(quick=quick) as stage:
        for key in keys:
            stage.wait_until_quiet()
            started = time.monotonic()
            row = ROWS[key](stage)
            row.seconds, row.load = time.monotonic() - started, os.getloadavg()[0]
            rows.append(row)
            if not quiet:
                report.print_row(console, row)
    if not quiet:
        report.print_summary(console, rows)
    return {**found, "rows": [report.row_as_json(row) for row in rows]}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rows", help=f"which rows, comma-separated: {','.join(ROWS)}")
    parser.add_argument("--quick", action="store_true", help="fewer runs and smaller sizes, under a minute")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--docs", action="store_true", help=f"put the table into {PAGE.relative_to(ROOT)}")
    parser.add_argument("--read", metavar="FILE", help="show the results of an earlier run instead of measuring")
    options = parser.parse_args()
    keys = options.rows.split(",") if options.rows else list(QUICK if options.quick else ROWS)
    for key in keys:
        if key not in ROWS:
            parser.error(f"there is no row {key!r}; the rows are {', '.join(ROWS)}")
    options.rows = keys
    return options


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, timeout=20, check=False
    )
    return done.stdout.strip() or "unknown"


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _too_long(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"the benchmark has not finished within {LIMIT_SECONDS // 60} minutes")


if __name__ == "__main__":
    sys.exit(main())
