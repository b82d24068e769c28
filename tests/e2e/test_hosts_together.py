"""Host processes on one stack: what one commits, the others have before they are asked, and none ever misses it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.host import Host
from tests.support.redis import RedisServer
from tests.support.stack import NewStack

SECONDS = 30.0


MakeHosts = Callable[[int], list[Host]]


@pytest.fixture
def make_hosts(
    tmp_path: Path, ram_folder: Path, postgres_dsn: str, own_redis: RedisServer, full_stack: NewStack
) -> Iterator[MakeHosts]:
    """Return a function that starts hosts on one stack, whose Redis is ``own_redis``."""
    made: list[Host] = []

    def make(count: int) -> list[Host]:
        shared = {"DATABASE_URL": postgres_dsn, **full_stack(), **own_redis.variables}
        made.extend(Host(tmp_path / name, ram_folder / name, **shared) for name in "abcde"[:count])
        return made

    yield make
    for host in made:
        for client in host.clients:
            client.close()
        if host.process.poll() is None:
            host.process.kill()
        host.process.communicate()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


def cached_commits(host: Host) -> int:
    return len([path for path in host.workdir.glob(".cache/t/*/p/*/commits/*") if "~" not in path.name])


def listeners(server: RedisServer) -> int:
    with server.admin() as admin:
        return len(admin.client_list(_type="pubsub"))


def test_what_one_host_commits_the_other_has_before_it_is_asked(make_hosts: MakeHosts, own_redis: RedisServer) -> None:
    hosts = make_hosts(2)
    a, b = (host.ready() for host in hosts)
    wait_for(lambda: listeners(own_redis) == 2)
    assert a.post("/api/v1/projects", json={"name": "demo"}).status_code == 201
    assert a.put("/api/v1/projects/demo/files/one", content=b"1").is_success
    opened = b.post("/api/v1/sessions", json={"session": "s1", "project": "demo"}).json()
    assert cached_commits(hosts[1]) == 1

    assert a.put("/api/v1/projects/demo/files/one", content=b"2").is_success
    wait_for(lambda: cached_commits(hosts[1]) == 2)
    done = b.post("/api/v1/sessions/s1/checkout").json()
    assert (done["kind"], done["generation"]) == ("refreshed", 2)
    assert (Path(opened["path"]) / "one").read_bytes() == b"2"

    own_redis.kill()
    assert a.put("/api/v1/projects/demo/files/one", content=b"3").is_success
    assert b.post("/api/v1/sessions/s1/checkout").json()["generation"] == 3
    assert (Path(opened["path"]) / "one").read_bytes() == b"3"
    health = b.get("/health")
    assert (health.status_code, health.json()["status"]) == (200, "degraded")

    own_redis.start()
    wait_for(lambda: listeners(own_redis) == 2)
    for host in hosts:
        started = time.monotonic()
        code, out, err = host.stop()
        assert code == 0, err
        assert time.monotonic() - started < 10
        assert own_redis.password not in out + err
        assert err.count("Redis is out of use") <= 1
        assert err.count("commits of other nodes are not heard of") == 1
        assert "Traceback" not in err
    wait_for(lambda: listeners(own_redis) == 0)


def test_three_hosts_see_each_others_commits_at_once_whatever_redis_says(
    make_hosts: MakeHosts, own_redis: RedisServer
) -> None:
    clients = [host.ready() for host in make_hosts(3)]
    wait_for(lambda: listeners(own_redis) == 3)
    clients[0].post("/api/v1/projects", json={"name": "demo"})
    clients[0].put("/api/v1/projects/demo/files/turn", content=b"0")
    folders = [
        Path(client.post("/api/v1/sessions", json={"session": f"s{number}", "project": "demo"}).json()["path"])
        for number, client in enumerate(clients)
    ]
    turn = 0

    def all_see_a_commit_of_each() -> None:
        nonlocal turn
        for writer, folder in enumerate(folders):
            turn += 1
            (folder / "turn").write_text(str(turn))
            done = clients[writer].post(f"/api/v1/sessions/s{writer}/commit", json={"message": str(turn)}).json()
            for reader, client in enumerate(clients):
                seen = client.post(f"/api/v1/sessions/s{reader}/checkout").json()
                assert seen["generation"] == done["generation"] == turn + 1
                assert (folders[reader] / "turn").read_text() == str(turn)

    all_see_a_commit_of_each()
    own_redis.save()
    all_see_a_commit_of_each()
    own_redis.kill()
    all_see_a_commit_of_each()
    own_redis.start()  # with what it knew two rounds ago
    wait_for(lambda: listeners(own_redis) == 3)
    all_see_a_commit_of_each()
    for client in clients:
        assert client.get("/health").json()["status"] == "ok"
