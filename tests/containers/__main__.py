"""Runs the tests of this folder in namespaces of their own: ``python -m tests.containers [options of pytest]``.

Inside, the ports that the compose files publish are free whatever this machine runs, and bridges, firewall rules,
mounts and processes of the engine are gone with the run, however it ends. What stays is ``.containers/``: images, so
that the next run is quick.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from tests.containers.place import FOLDER, HOST_NETWORK, ROOT

PROGRAMS = {  # and the Debian packages that have them
    "podman": "podman",
    "runc": "runc",
    "conmon": "conmon",
    "catatonit": "catatonit",
    "iptables": "iptables",
    "ip": "iproute2",
    "debootstrap": "debootstrap",
    "unshare": "util-linux",
    "mvn": "maven",
}
HELPERS = {"netavark": "netavark", "aardvark-dns": "aardvark-dns"}
HELPER_FOLDERS = ("/usr/lib/podman", "/usr/libexec/podman", "/usr/local/libexec/podman")


def main() -> int:
    why = reason_to_skip()
    if why:
        print(f"skipped: {why}")
        return 0
    FOLDER.mkdir(exist_ok=True)
    network = os.open("/proc/self/ns/net", os.O_RDONLY)
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable]
    command += ["-m", "pytest", "-p", "no:randomly", "-s", "-o", "testpaths=tests/containers", *sys.argv[1:]]
    environ = {**os.environ, HOST_NETWORK: str(network)}
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        return subprocess.run(command, cwd=ROOT, env=environ, pass_fds=[network], check=False).returncode
    except KeyboardInterrupt:
        return 130
    finally:
        remove_control_groups()


def reason_to_skip() -> str | None:
    if sys.platform != "linux":
        return "containers are run on Linux only"
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    missing += [
        package
        for helper, package in HELPERS.items()
        if not any(Path(folder, helper).exists() for folder in HELPER_FOLDERS)
    ]
    if missing:
        return f"podman and what it needs are not all here; apt-get install --no-install-recommends {' '.join(missing)}"
    if os.geteuid() != 0:
        return "podman makes networks and mounts here, which only root may; run it as root"
    return None


def remove_control_groups() -> None:
    """Those of containers that were killed, and have no processes any more."""
    top = Path("/sys/fs/cgroup")
    for parent in (*top.glob("*/libpod_parent"), *top.glob("libpod_parent")):
        for folder, _, _ in os.walk(parent, topdown=False):
            with contextlib.suppress(OSError):  # in use by another podman
                os.rmdir(folder)


if __name__ == "__main__":
    sys.exit(main())
