"""Collection under load: writers, forkers, collectors and job workers, each killed at random and replaced, and a store
of which some requests fail.

Run it: ``python -m tests.bench.garbage --seconds 600``. The embedded PostgreSQL, encrypted, a store in a folder in RAM.
What is left is looked at in the end; numbers are printed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

from manifold_common.bootstrap import migrate_catalog
from manifold_local.embedded.postgres import ensure_embedded

from tests.support.garbage_fleet import run
from tests.support.garbage_load import Place


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--writers", type=int, default=3)
    parser.add_argument("--collectors", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="manifold-garbage-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    server = ensure_embedded(folder / "pg")
    try:
        migrate_catalog(server.dsn)
        place = Place(server.dsn, folder)
        done = run(
            place,
            seconds=chosen.seconds,
            writers=chosen.writers,
            collectors=chosen.collectors,
            workers=chosen.workers,
            seed=chosen.seed,
        )
        killed = ", ".join(f"{count} {kind}s" for kind, count in sorted(done.kills.items()))
        print(f"seed {chosen.seed}; killed: {killed}; unexpected errors: {done.wrong or 'none'}")
        for what, count in sorted(done.counted.items()):
            print(f"{count:8} {what}")
        if done.wrong:
            raise SystemExit(1)
    finally:
        server.close(stop_now=True)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
