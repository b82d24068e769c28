"""Clients of a host whose store is a folder: their content goes through the host, as it lies in the store."""

from __future__ import annotations

import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from manifold_common.bootstrap.remote import connect
from manifold_common.ids import Generation
from manifold_common.settings import load_settings

from tests.support.cli import Program
from tests.support.host import Host, MakeHost
from tests.support.large_file import MIB, write_mixed
from tests.support.waiting import wait_until
from tests.support.work import S1, look
from tests.support.zygote import Zygote

FOLDER = {"PROJECTS_BACKEND": "filesystem", "LOG_LEVEL": "debug"}
CANARY = random.Random(2).randbytes(100)
OBJECT_MIB = 160
LIMIT_MIB = 64


def objects_of(host: Host, name: str = "*") -> list[Path]:
    return list((host.workdir / ".store").rglob(name))


@pytest.mark.parametrize("encrypt", ["true", "false"])
def test_packs_go_in_through_the_host_and_come_out_whatever_becomes_of_a_client(
    make_host: MakeHost, zygote: Zygote, tmp_path: Path, ram_folder: Path, empty_postgres_dsn: str, encrypt: str
) -> None:
    host = make_host(**FOLDER, PROJECTS_ENCRYPT=encrypt)
    laptop = Program(tmp_path, ram_folder / "laptop", zygote, {"MANIFOLD_REMOTE": str(host.ready().base_url)})
    tree = ram_folder / "tree"
    tree.mkdir()
    write_mixed(tree / "large", 80)
    (tree / "small").write_bytes(CANARY)
    laptop("project", "create", "demo")
    begun = laptop.start("import", "demo", str(tree), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: len(objects_of(host, "packs/*")) > 1, 60)
    begun.send_signal(signal.SIGKILL)
    begun.wait()
    wait_until(lambda: objects_of(host, "~put-*") == [])
    assert laptop.json("project", "list")["items"][0]["generation"] == 0

    assert laptop.json("import", "demo", tree)["generation"] == 1
    work = laptop.checkout("demo", "s")
    assert look(work) == look(tree)
    with (work / "large").open("r+b") as file:
        file.write(b"changed")
    (work / "small").unlink()
    assert laptop.json("commit", cwd=work)["generation"] == 2
    laptop("export", "demo", ram_folder / "out")
    assert look(ram_folder / "out") == look(work)
    in_the_clear = any(CANARY in path.read_bytes() for path in objects_of(host) if path.is_file())
    assert in_the_clear is (encrypt == "false")
    here = {**host.variables, "DATABASE_URL": empty_postgres_dsn, "WORKDIR": str(host.workdir)}
    at_the_server = Program(tmp_path, ram_folder / "ram", zygote, here)
    assert at_the_server.json("verify", "demo", "--read-data")["ok"]
    _, out, err = host.stop()
    assert "/api/objects/" in err and "signature=" not in out + err


def noise(size_mib: int) -> Iterator[bytes]:
    piece = random.Random(1).randbytes(MIB)
    for _ in range(size_mib):
        yield piece


def test_what_a_host_hands_on_it_does_not_hold(make_host: MakeHost, tmp_path: Path, ram_folder: Path) -> None:
    host = make_host(**FOLDER)
    url = str(host.ready().base_url).rstrip("/")
    environ = {"WORKDIR": str(tmp_path / "client"), "PROJECTS_WORKSPACE_TMPFS_DIR": str(ram_folder / "client")}
    client = connect(load_settings(environ=environ, cwd=tmp_path), url)
    client.sessions.checkout(S1, client.projects.create("demo").id)
    slots = client.context.server.open_uploads(S1, Generation(0), 0)
    (link,) = client.context.server.link_uploads(S1, {slots.draft_commit: OBJECT_MIB * MIB})
    client.close()
    idle_kib = host.status_kib("VmRSS")
    sent = httpx.put(url + link.url, content=noise(OBJECT_MIB), headers=dict(link.headers), timeout=60)
    assert sent.status_code == 200
    grown_mib = (host.status_kib("VmHWM") - idle_kib) / 1024
    print(f"an object of {OBJECT_MIB} MiB: {grown_mib:.0f} MiB above idle")
    assert grown_mib <= LIMIT_MIB
    assert [path.stat().st_size for path in objects_of(host, "commits/*")] == [OBJECT_MIB * MIB]
