"""Each backup of the operations page, taken under load and restored elsewhere with the page's own commands."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.bootstrap import build_store
from manifold_common.errors import ObjectNotFound
from manifold_local.embedded.stack.seaweedfs import S3Endpoint

from tests.drills.scene import Acknowledged, Load, documented, run
from tests.support.cli import EXECUTABLE
from tests.support.embedded import postgres_processes
from tests.support.host import Host
from tests.support.manifold import settings_for
from tests.support.seaweedfs import s3_variables

PROJECT = "demo"


class Site:
    """A machine: its WORKDIR, its RAM, and hosts on them."""

    def __init__(self, place: Path, ram: Path, **variables: str) -> None:
        self.workdir, self.ram, self._more = place / "work", ram, variables
        place.mkdir()
        ram.mkdir(mode=0o700)
        self.hosts: list[Host] = []

    @property
    def variables(self) -> dict[str, str]:
        return {
            "WORKDIR": str(self.workdir),
            "PROJECTS_ENCRYPT": "true",
            "PROJECTS_WORKSPACE_MODE": "ephemeral",
            "PROJECTS_WORKSPACE_TMPFS_DIR": str(self.ram),
            **self._more,
        }

    def host(self) -> Host:
        self.hosts.append(Host(self.workdir, self.ram, **self._more))
        return self.hosts[-1]

    def require(self, what: Acknowledged) -> None:
        """Work on with what was restored here."""
        what.require_in(self.host().ready())

    def verify(self) -> None:
        run(f"manifold verify {PROJECT} --read-data", **self.variables)

    def adopt(self) -> None:
        run("manifold adopt --same", **self.variables)

    def close(self) -> None:
        for host in self.hosts:
            for client in host.clients:
                client.close()
            if host.process.poll() is None:
                host.process.kill()
            host.process.communicate()
        subprocess.run([EXECUTABLE, "stop"], env={**self.variables}, capture_output=True, check=False)


@pytest.fixture
def sites(tmp_path: Path, ram_folder: Path) -> Iterator[tuple[Site, Site]]:
    made = tuple(Site(tmp_path / name, ram_folder / name) for name in ("here", "there"))
    yield made[0], made[1]
    for site in made:
        site.close()


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    return tmp_path / "backup"


def loaded(site: Site) -> tuple[Host, Load]:
    host = site.host()
    client = host.ready()
    assert client.post("/api/v1/projects", json={"name": PROJECT}).status_code == 201
    return host, Load(str(client.base_url), PROJECT)


def next_page(client: httpx.Client, cursor: str | None = None) -> httpx.Response:
    parameters = {"limit": "1", **({"cursor": cursor} if cursor else {})}
    return client.get(f"/api/v1/projects/{PROJECT}/tree", params=parameters)


def test_a_copy_of_workdir_made_when_the_host_has_stopped(sites: tuple[Site, Site], backup: Path) -> None:
    here, there = sites
    host, load = loaded(here)
    with load.going_on():
        load.go_on(5)
    acknowledged = Acknowledged(load)
    assert host.stop()[0] == 0
    assert not postgres_processes(here.workdir / ".postgres")
    subprocess.run(["cp", "-a", str(here.workdir), str(backup.with_name("at-once"))], check=True)
    run(f"manifold verify {PROJECT}", **here.variables)  # its database lingers now
    (commands,) = documented("Copy WORKDIR")
    run(commands, BACKUP=str(backup), **here.variables)
    for copy in (backup.with_name("at-once"), backup):
        shutil.rmtree(there.workdir, ignore_errors=True)
        subprocess.run(["cp", "-r", "--preserve=mode,ownership", str(copy), str(there.workdir)], check=True)
        run(f"manifold verify {PROJECT} --read-data && manifold stop", **there.variables)
    there.adopt()
    there.require(acknowledged)


def test_a_copy_of_workdir_made_while_the_host_stops_under_load_is_whole_or_refused(
    sites: tuple[Site, Site], backup: Path
) -> None:
    here, there = sites
    host, load = loaded(here)
    with load.going_on():
        load.go_on(2)
    acknowledged = Acknowledged(load)
    host.process.send_signal(signal.SIGTERM)
    copied = subprocess.run(["cp", "-a", str(here.workdir), str(there.workdir)], capture_output=True, check=False)
    assert host.process.wait(40) == 0
    del copied  # files may have gone meanwhile
    done = subprocess.run(
        [EXECUTABLE, "verify", PROJECT], env=there.variables, capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        there.adopt()
        there.require(acknowledged)
    else:
        assert "was copied while its database was running" in done.stderr
        here.require(acknowledged)


def test_a_dump_and_a_later_copy_of_the_store_taken_while_work_goes_on(sites: tuple[Site, Site], backup: Path) -> None:
    here, there = sites
    backup.mkdir()
    _, load = loaded(here)
    (commands,) = documented("Dump, then copy the store")
    dumping, copying = commands.split("\n", 1)
    with load.going_on():
        acknowledged = Acknowledged(load)
        run(dumping, BACKUP=str(backup), **here.variables)
        load.go_on(4)  # every draft in the dump is superseded
        run(copying, BACKUP=str(backup), **here.variables)
    restoring, anew, keeping = documented("Restore a dump")
    run(restoring, BACKUP=str(backup), PROJECT=PROJECT, **there.variables)
    # Loaded again, by mistake: nothing changes, and it is said.
    run('manifold database psql < "$BACKUP/backup.sql"', BACKUP=str(backup), **there.variables)
    refused = subprocess.run([EXECUTABLE, "up"], env=there.variables, capture_output=True, text=True, check=False)
    assert refused.returncode != 0 and "nothing of the dump is there" in refused.stderr
    run(keeping, **there.variables)
    there.require(acknowledged)
    assert there.hosts[-1].stop()[0] == 0
    run(anew, BACKUP=str(backup), **there.variables)
    there.verify()


def test_a_dump_and_a_later_mirror_of_the_bucket_taken_while_work_goes_on(
    tmp_path: Path, ram_folder: Path, s3_endpoint: S3Endpoint, backup: Path
) -> None:
    backup.mkdir()
    s3 = s3_variables(s3_endpoint)
    here = Site(tmp_path / "here", ram_folder / "here", **s3, S3_PREFIX="drill/here")
    there = Site(tmp_path / "there", ram_folder / "there", **s3, S3_PREFIX="drill/there")
    try:
        host, load = loaded(here)
        with load.going_on():
            acknowledged = Acknowledged(load)
            run('manifold database pg_dump > "$BACKUP/backup.sql"', BACKUP=str(backup), **here.variables)
            load.go_on(4)
            mirror(here, there)
        cursor = next_page(host.clients[0]).json()["next_cursor"]
        assert next_page(host.clients[0], cursor).status_code == 200
        shutil.copytree(here.workdir / ".keystore", there.workdir / ".keystore")
        run('manifold database psql < "$BACKUP/backup.sql"', BACKUP=str(backup), **there.variables)
        there.verify()
        there.adopt()
        there.require(acknowledged)
        gone = next_page(there.hosts[-1].clients[0], cursor)  # through a generation that came after the dump
        assert (gone.status_code, gone.json()["code"]) == (410, "generation_gone")
    finally:
        here.close()
        there.close()


def mirror(source: Site, target: Site) -> None:
    """Copy every object, as ``mc mirror`` does. One that goes away meanwhile is passed over."""
    stores = []
    for site in (source, target):
        site.workdir.mkdir(mode=0o700, exist_ok=True)
        settings = settings_for(site.workdir, site.ram, **site.variables)
        stores.append(build_store(settings, SystemClock(), SystemRandomness()))
    for info in stores[0].list("t"):
        try:
            stores[1].put(info.key, stores[0].get(info.key, max_bytes=2**30))
        except ObjectNotFound:
            continue
