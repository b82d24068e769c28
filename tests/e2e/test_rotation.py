"""Secrets that are replaced while a host runs."""

from __future__ import annotations

import os
from pathlib import Path

import httpx

from tests.support.host import MakeHost
from tests.support.postgres import PasswordRole
from tests.support.redis import RedisServer


class SecretVolume:
    """A folder of secrets as Kubernetes mounts it: it is replaced as a whole, by pointing a link elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._versions = 0

    def put(self, **secrets: str) -> dict[str, str]:
        """Replace all secrets; return the variables that name them."""
        self._versions += 1
        version = self.folder / f"..version_{self._versions}"
        version.mkdir()
        for name, value in secrets.items():
            (version / name).write_text(f"{value}\n")
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        aside = self.folder / "..data_tmp"
        aside.symlink_to(version.name)
        os.replace(aside, self.folder / "..data")
        return {f"{name}_FILE": str(self.folder / name) for name in secrets}


def state_of(client: httpx.Client) -> dict[str, str]:
    return {part["name"]: part["state"] for part in client.get("/health").json()["dependencies"]}


def test_a_host_goes_on_with_what_the_files_of_its_secrets_hold_by_now(
    make_host: MakeHost, tmp_path: Path, password_role: PasswordRole, own_redis: RedisServer
) -> None:
    volume = SecretVolume(tmp_path / "secrets")
    variables = volume.put(DATABASE_URL=password_role.rotate("first"), REDIS_PASSWORD=own_redis.password)
    blank = {"DATABASE_URL": "", "REDIS_PASSWORD": ""}
    host = make_host(**blank, REDIS_ENABLED="true", REDIS_ADDR=own_redis.addr, **variables)
    client = host.ready()
    assert client.post("/api/v1/projects", json={"name": "before"}).status_code == 201
    second = password_role.rotate("second")
    with own_redis.admin() as admin:
        admin.config_set("requirepass", "of by now")
        admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    volume.put(DATABASE_URL=second, REDIS_PASSWORD="of by now")
    assert client.post("/api/v1/projects", json={"name": "after"}).status_code == 201
    found = state_of(client)
    assert (found["postgres"], found["redis"]) == ("ok", "ok")
    _, _, err = host.stop()
    assert "the settings were read again; new: databaseUrl, projects.redis.password" in err
    assert "of by now" not in err and "second" not in err
