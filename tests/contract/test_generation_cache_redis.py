"""What is particular to Redis: it dies, hangs, forgets, refuses, and may be filled with anything by anybody."""

from __future__ import annotations

import logging
import re
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from manifold_common.adapters.memory.clock import ManualClock
from manifold_common.adapters.redis import client as redis_client
from manifold_common.adapters.redis.generation_cache import RedisGenerationCache
from manifold_common.adapters.redis.options import RedisOptions
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.errors import Unavailable
from manifold_common.ids import DEFAULT_TENANT, Generation, ProjectId, encode_id
from manifold_common.ports.clock import Clock
from manifold_common.ports.generation_cache import Invalidation, Listener

from tests.support.certificates import Authority
from tests.support.redis import RedisServer
from tests.support.tls_front import tls_front

T = DEFAULT_TENANT
PAUSE_SECONDS = 5.0
ROOT = Path(__file__).parents[2]


@contextmanager
def cache_of(options: RedisOptions, clock: Clock | None = None) -> Iterator[RedisGenerationCache]:
    with closing(RedisGenerationCache(options, clock=clock or SystemClock(), randomness=SystemRandomness())) as cache:
        yield cache


@pytest.fixture
def cache(redis_server: RedisServer) -> Iterator[RedisGenerationCache]:
    with cache_of(redis_server.options(timeout_seconds=5.0)) as made:
        yield made


@pytest.fixture
def project() -> ProjectId:
    return ProjectId(encode_id(uuid.uuid4().bytes))


def news(project: ProjectId, generation: int, skills: int = 0) -> Invalidation:
    return Invalidation(T, project, Generation(generation), Generation(skills))


def heard(listener: Listener) -> Invalidation | None:
    """Return the next announcement."""
    deadline = time.monotonic() + 10
    found = None
    while found is None and time.monotonic() < deadline:
        found = listener.next(0.05)
    return found


def key(project: ProjectId, what: str = "generation") -> str:
    return f"project:{T}:{project}:{what}"


def seconds(work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


# --- what is in the server --------------------------------------------------------------------------------------------


def test_keys_and_channel_have_the_names_that_are_documented(
    cache: RedisGenerationCache, redis_server: RedisServer, project: ProjectId
) -> None:
    with redis_server.admin() as admin, admin.pubsub() as heard:
        heard.subscribe(key(project, "invalidate"))
        with cache.writer_lease(T, project, wait_seconds=0):
            cache.announce(news(project, 12, 7))
            assert sorted(admin.scan_iter(f"*{project}*")) == sorted(
                [key(project), key(project, "lock"), key(project, "skills_gen")]
            )
        assert (admin.get(key(project)), admin.get(key(project, "skills_gen"))) == ("12", "7")
        messages = [heard.get_message(timeout=5.0) for _ in range(2)]
        assert messages[1] is not None
        assert messages[1]["data"] == '{"generation": 12, "skills_generation": 7}'


def test_the_database_number_is_used(redis_server: RedisServer, project: ProjectId) -> None:
    with cache_of(redis_server.options(db=3, timeout_seconds=5.0)) as other, redis_server.admin() as admin:
        other.announce(news(project, 1))
        assert admin.get(key(project)) is None
        admin.select(3)
        assert admin.get(key(project)) == "1"


def put_list(admin: Any, name: str) -> None:
    admin.rpush(name, "1", "2")


def put_hash(admin: Any, name: str) -> None:
    admin.hset(name, "generation", "9")


NONSENSE = [
    "",
    "abc",
    "-1",
    "1.5",
    "1e99",
    "0x10",
    "inf",
    "nan",
    " 7",
    "7 ",
    "9" * 16,
    "9" * 400,
    "٣",
    put_list,
    put_hash,
]


@pytest.mark.parametrize("what", ["generation", "skills_gen"])
@pytest.mark.parametrize("nonsense", NONSENSE)
def test_nonsense_is_no_hint_and_the_next_announcement_replaces_it(
    cache: RedisGenerationCache, redis_server: RedisServer, project: ProjectId, what: str, nonsense: Any
) -> None:
    cache.announce(news(project, 4, 2))
    with redis_server.admin() as admin:
        admin.delete(key(project, what))
        if callable(nonsense):
            nonsense(admin, key(project, what))
        else:
            admin.set(key(project, what), nonsense)
    assert cache.hint(T, project) is None
    assert cache.announce(news(project, 5, 2))
    assert cache.hint(T, project) == (5, 2)


def test_a_skills_generation_beyond_the_generation_is_no_hint(
    cache: RedisGenerationCache, redis_server: RedisServer, project: ProjectId
) -> None:
    cache.announce(news(project, 4, 2))
    with redis_server.admin() as admin:
        admin.set(key(project, "skills_gen"), "5")
    assert cache.hint(T, project) is None


def test_a_value_that_is_wrongly_high_comes_to_an_end(
    cache: RedisGenerationCache, redis_server: RedisServer, project: ProjectId
) -> None:
    with redis_server.admin() as admin:
        cache.announce(news(project, 999_999))
        assert 0 < admin.pttl(key(project)) <= 7 * 86_400_000
        admin.pexpire(key(project), 60_000)
        cache.announce(news(project, 6))
        assert admin.get(key(project)) == "999999"
        assert 0 < admin.pttl(key(project)) <= 60_000, "announcing less must not make it live longer"


def test_scripts_that_the_server_forgot_are_sent_again(
    cache: RedisGenerationCache, redis_server: RedisServer, project: ProjectId
) -> None:
    cache.announce(news(project, 1))
    with redis_server.admin() as admin:
        admin.script_flush()
    assert cache.announce(news(project, 2))
    assert cache.hint(T, project) == (2, 0)


@pytest.mark.parametrize("stands", ["for ever", "a list", "for a year"])
def test_what_stands_in_the_place_of_a_lock_gets_a_locks_life(
    redis_server: RedisServer, project: ProjectId, stands: str
) -> None:
    name = key(project, "lock")
    options = redis_server.options(lock_seconds=0.3, timeout_seconds=5.0)
    with redis_server.admin() as admin, cache_of(options) as cache:
        if stands == "a list":
            put_list(admin, name)
        else:
            admin.set(name, "x", ex=365 * 86_400 if stands == "for a year" else None)
        with cache.writer_lease(T, project, wait_seconds=0) as had:
            assert not had
        assert 0 < admin.pttl(name) <= 300
        with cache.writer_lease(T, project, wait_seconds=30) as had:
            assert had


def test_a_lock_that_was_replaced_is_not_removed(
    cache: RedisGenerationCache, redis_server: RedisServer, project: ProjectId
) -> None:
    with redis_server.admin() as admin:
        for other in (lambda name: admin.set(name, "another's"), lambda name: put_list(admin, name)):
            with cache.writer_lease(T, project, wait_seconds=0) as had:
                assert had
                admin.delete(key(project, "lock"))
                other(key(project, "lock"))
            assert admin.delete(key(project, "lock")) == 1


NONSENSE_MESSAGES = [
    "", "{", "null", "[]", "7", '"x"', "{}", '{"generation": 1}', '{"generation": "1", "skills_generation": 0}',
    '{"generation": true, "skills_generation": 0}', '{"generation": -1, "skills_generation": 0}',
    '{"generation": 1.0, "skills_generation": 0}', '{"generation": NaN, "skills_generation": 0}',
    '{"generation": %s, "skills_generation": 0}' % ("9" * 16), "[" * 1000, "x" * 100_000, b"\xff\xfe",
]  # fmt: skip


def test_messages_that_make_no_sense_are_passed_over(
    cache: RedisGenerationCache, redis_server: RedisServer, project: ProjectId
) -> None:
    good = '{"generation": 1, "skills_generation": 1}'
    channels = [f"project:{T}:{bad}:invalidate" for bad in ("x", "", "../../x", "A" * 26, f"{project}:x", "a" * 5000)]
    channels += [f"project:{bad}:{project}:invalidate" for bad in ("", "A", "..", "a/b", "a" * 65)]
    with redis_server.admin() as admin, cache.listen() as listener:
        for message in NONSENSE_MESSAGES:
            admin.publish(key(project, "invalidate"), message)
        for channel in channels:
            admin.publish(channel, good)
        admin.publish(f"project:{T}:{project}:invalidate".encode() + b"\xff:invalidate", good)
        cache.announce(news(project, 3))
        assert heard(listener) == news(project, 3)


# --- a server that does not do its part -------------------------------------------------------------------------------


@pytest.mark.alone("measures time-outs")
def test_a_server_that_hangs_costs_one_timeout_for_each_pause(own_redis: RedisServer, project: ProjectId) -> None:
    clock = ManualClock()
    with cache_of(own_redis.options(timeout_seconds=1.0, pause_seconds=PAUSE_SECONDS), clock) as cache:
        assert cache.announce(news(project, 1))
        with own_redis.frozen():
            assert seconds(lambda: cache.announce(news(project, 2))) > 0.8
            assert seconds(lambda: [cache.hint(T, project) for _ in range(1000)]) < 0.8
            for _ in range(3):
                clock.advance(PAUSE_SECONDS)
                with ThreadPoolExecutor(8) as pool:
                    spent = list(pool.map(lambda _: seconds(lambda: cache.hint(T, project)), range(32)))
                assert sum(one > 0.8 for one in spent) == 1, "one tries, the others pass by"
        clock.advance(PAUSE_SECONDS)
        assert cache.hint(T, project) is not None


def test_a_name_that_is_looked_up_for_ever_costs_one_timeout(
    project: ProjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, release = threading.Event(), threading.Event()

    def look_up(*_: object) -> list[Any]:
        asked.set()
        release.wait(60)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with cache_of(RedisOptions("redis.example", timeout_seconds=0.2)) as cache:
        assert seconds(lambda: cache.hint(T, project)) < 5
        assert asked.is_set()
        assert "no answer" in cache.health().detail
    release.set()


def test_a_commit_waits_for_no_lock_of_a_dead_server(own_redis: RedisServer, project: ProjectId) -> None:
    with cache_of(own_redis.options()) as cache:
        own_redis.kill()
        cache.hint(T, project)

        def take() -> None:
            with cache.writer_lease(T, project, wait_seconds=60) as free:
                assert free

        assert seconds(take) < 5


def test_a_server_that_comes_back_is_used_again_and_each_change_is_logged_once(
    own_redis: RedisServer, project: ProjectId, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    clock = ManualClock()
    with cache_of(own_redis.options(pause_seconds=PAUSE_SECONDS, timeout_seconds=5.0), clock) as cache:
        for _ in range(2):
            assert cache.announce(news(project, 1))
            own_redis.kill()
            for _ in range(5):
                assert not cache.announce(news(project, 2))
                assert cache.hint(T, project) is None
                clock.advance(PAUSE_SECONDS)
            own_redis.start()
            assert cache.announce(news(project, 2))
            assert cache.hint(T, project) == (2, 0)
    levels = [record.levelname for record in caplog.records if "Redis" in record.getMessage()]
    assert levels == ["WARNING", "INFO"] * 2
    assert own_redis.password not in caplog.text


def test_health_tells_the_truth_without_waiting_for_the_pause(own_redis: RedisServer, project: ProjectId) -> None:
    clock = ManualClock()
    with cache_of(own_redis.options(timeout_seconds=5.0), clock) as cache:
        own_redis.kill()
        assert cache.hint(T, project) is None
        health = cache.health()
        assert not health.ok
        assert "cannot be connected to" in health.detail
        own_redis.start()
        assert cache.health().ok
        assert cache.announce(news(project, 1)), "what health has seen ends the pause"


def test_a_sign_in_that_is_refused_says_so_without_the_password(
    redis_server: RedisServer, project: ProjectId, caplog: pytest.LogCaptureFixture
) -> None:
    guess = "not-the-password-1234"
    for user, password in ((None, guess), ("nobody", guess), (None, None)):
        options = RedisOptions("127.0.0.1", redis_server.port, username=user, password=password, timeout_seconds=5.0)
        assert guess not in repr(options)
        with cache_of(options) as cache:
            assert not cache.announce(news(project, 1))
            with pytest.raises(Unavailable) as caught, cache.listen():
                pass
            assert "REDIS_PASSWORD" in str(caught.value)
            assert "refuses the sign-in" in cache.health().detail
            assert caught.value.__cause__ is None
            assert guess not in f"{caught.value!r}{cache.health()}{caplog.text}"
    assert caplog.text.count("refuses the sign-in") == 3


@pytest.mark.parametrize("db", [0, 3])
def test_a_user_with_just_the_documented_rights_can_do_everything(
    redis_server: RedisServer, project: ProjectId, db: int
) -> None:
    documented = re.search(r"^ACL SETUSER manifold .*$", (ROOT / "docs" / "coordination.md").read_text(), re.MULTILINE)
    assert documented is not None
    with redis_server.admin() as admin:
        admin.execute_command("ACL", "DELUSER", "manifold")
        admin.execute_command(*documented[0].split())
        admin.execute_command("ACL", "LOG", "RESET")
        admin.script_flush()
    options = redis_server.options(username="manifold", timeout_seconds=5.0, db=db)
    with cache_of(_with(options, password="PASSWORD")) as cache, cache.listen() as listener:
        with cache.writer_lease(T, project, wait_seconds=0) as had:
            assert had
            with cache.writer_lease(T, project, wait_seconds=0) as again:
                assert not again
        assert cache.announce(news(project, 2, 1))
        assert cache.hint(T, project) == (2, 1)
        assert heard(listener) == news(project, 2, 1)
        assert cache.health().ok
    with redis_server.admin() as admin:
        assert admin.acl_log() == []
        admin.execute_command("ACL", "SETUSER", "manifold", "-publish", "-psubscribe")
    with cache_of(_with(options, password="PASSWORD")) as cache:
        assert not cache.announce(news(project, 3))
        with pytest.raises(Unavailable, match=r"coordination\.md"), cache.listen():
            pass


def _with(options: RedisOptions, **more: Any) -> RedisOptions:
    return RedisOptions(**{name: getattr(options, name) for name in RedisOptions.__slots__} | more)


@pytest.mark.parametrize(
    ("setting", "value", "said"), [("maxmemory", "1", "OOM"), ("min-replicas-to-write", "1", "NOREPLICAS")]
)
def test_a_server_that_takes_no_writes_is_gone_without(
    own_redis: RedisServer, project: ProjectId, caplog: pytest.LogCaptureFixture, setting: str, value: str, said: str
) -> None:
    with cache_of(own_redis.options(timeout_seconds=5.0)) as cache, own_redis.admin() as admin:
        admin.config_set(setting, value)
        assert not cache.announce(news(project, 1))
        with cache.writer_lease(T, project, wait_seconds=60) as free:
            assert free
        assert said in caplog.text
        health = cache.health()
        assert (health.ok, health.detail.endswith(f"it answers {said}")) == (False, True), "a ping would be answered"
        admin.config_set(setting, "0")
        assert cache.health().ok
        assert cache.announce(news(project, 1))


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"*x\r\n", b":abc\r\n" * 9, b"$-7\r\n" * 9, b"\x00" * 64, b""]
)
def test_a_server_of_another_kind_is_gone_without(project: ProjectId, answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client:
                    client.recv(65536)
                    client.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        options = RedisOptions("127.0.0.1", listener.getsockname()[1], timeout_seconds=2.0, pause_seconds=0.0)
        with cache_of(options) as cache:
            assert cache.hint(T, project) is None
            assert not cache.announce(news(project, 1))
            with cache.writer_lease(T, project, wait_seconds=60) as free:
                assert free
            with pytest.raises(Unavailable), cache.listen():
                pass
            assert not cache.health().ok
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


# --- listening --------------------------------------------------------------------------------------------------------


def test_a_listener_notices_that_the_server_died(own_redis: RedisServer) -> None:
    with cache_of(own_redis.options()) as cache, cache.listen() as listener:
        own_redis.kill()
        with pytest.raises(Unavailable):
            for _ in range(100):
                listener.next(0.1)
        with pytest.raises(Unavailable), cache.listen():
            pass


def test_a_listener_notices_a_server_that_hangs_and_bears_one_that_is_quiet(
    own_redis: RedisServer, project: ProjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_client, "_QUIET_SECONDS", 0.2)
    with cache_of(own_redis.options(timeout_seconds=2.0)) as cache, cache.listen() as listener:
        quiet_until = time.monotonic() + 3.0
        while time.monotonic() < quiet_until:
            assert listener.next(0.05) is None
        cache.announce(news(project, 1))
        assert heard(listener) == news(project, 1)
        with own_redis.frozen(), pytest.raises(Unavailable, match="no answer"):
            for _ in range(1000):
                listener.next(0.05)


# --- TLS --------------------------------------------------------------------------------------------------------------


def test_tls_checks_both_sides(redis_server: RedisServer, tmp_path: Path, project: ProjectId) -> None:
    servers, clients, strangers = (Authority(tmp_path, name) for name in ("servers", "clients", "strangers"))
    cert, cert_key = servers.issue("redis")
    mine, theirs = clients.issue("manifold"), strangers.issue("stranger")
    with tls_front(redis_server.port, cert=cert, key=cert_key, client_ca=clients.file) as port:

        def options(ca: Path | None, shown: tuple[Path, Path] | None, **more: Any) -> RedisOptions:
            return RedisOptions(
                "127.0.0.1",
                port,
                password=redis_server.password,
                timeout_seconds=5.0,
                tls=True,
                ca_file=str(ca) if ca else None,
                cert_file=str(shown[0]) if shown else None,
                key_file=str(shown[1]) if shown else None,
                **more,
            )

        with cache_of(options(servers.file, mine)) as cache, cache.listen() as listener:
            assert cache.announce(news(project, 1))
            assert heard(listener) == news(project, 1)
        with cache_of(options(None, mine, verify_tls=False)) as cache:
            assert cache.hint(T, project) == (1, 0)
        for wrong in (
            options(None, mine),  # the system does not trust the server
            options(strangers.file, mine),
            options(servers.file, theirs),
            options(servers.file, None),
            options(tmp_path / "missing.pem", mine),
        ):
            with cache_of(wrong) as cache:
                assert not cache.health().ok
                assert cache.hint(T, project) is None


# --- loading ----------------------------------------------------------------------------------------------------------


def test_the_client_is_loaded_by_the_first_use_and_not_before() -> None:
    code = """
import sys
from manifold_common.adapters.redis.generation_cache import RedisGenerationCache
from manifold_common.adapters.redis.options import RedisOptions
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common import bootstrap
cache = RedisGenerationCache(RedisOptions("127.0.0.1", 1), clock=SystemClock(), randomness=SystemRandomness())
assert "redis" not in sys.modules
assert not cache.health().ok
assert "redis" in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)
