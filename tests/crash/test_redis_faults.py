"""Redis dies, hangs, forgets and lies under load. Three nodes share a catalog and a store; no commit is lost, none is
hidden, and none is wrong."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from manifold_common.adapters.redis.generation_cache import RedisGenerationCache
from manifold_common.adapters.redis.options import RedisOptions
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.ids import DEFAULT_TENANT, Generation, ProjectId, SessionId
from manifold_common.ports.generation_cache import Invalidation
from manifold_common.shapes.sessions import CheckoutKind
from manifold_local.host.following import following

from tests.support.manifold import MakeManifold
from tests.support.redis import RedisServer
from tests.support.work import check_out, new_project, put

T = DEFAULT_TENANT
NODES = ("a", "b", "c")
SECONDS = 30.0
PAUSE_SECONDS = 0.05


@pytest.fixture
def nodes(
    make_manifold: MakeManifold, own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[Manifold]]:
    """Three nodes, each with its own cache, RAM and connections. They follow each other."""
    monkeypatch.setattr("manifold_common.services.events.prefetch._POLL_SECONDS", 0.02)  # they end the sooner
    options = own_redis.options(timeout_seconds=0.5, pause_seconds=PAUSE_SECONDS, lock_seconds=1.0)
    made = [make_manifold(node=node, generations=_cache(options)) for node in NODES]
    with ExitStack() as stack:
        for node in made:
            stack.callback(node.context.generations.close)
            stack.enter_context(following(node.prefetcher, patience_seconds=SECONDS))
        yield made


def _cache(options: RedisOptions) -> RedisGenerationCache:
    return RedisGenerationCache(options, clock=SystemClock(), randomness=SystemRandomness())


def session_of(number: int) -> SessionId:
    return SessionId(f"s{number}")


def keys(project: ProjectId) -> list[str]:
    return [f"project:{T}:{project}:{what}" for what in ("generation", "skills_gen", "lock")]


# --- what lies in the server ------------------------------------------------------------------------------------------


def lie_low(server: RedisServer, project: ProjectId) -> None:
    with server.admin() as admin:
        admin.mset(dict.fromkeys(keys(project)[:2], "0"))


def lie_high(server: RedisServer, project: ProjectId) -> None:
    with server.admin() as admin:
        admin.mset(dict.fromkeys(keys(project)[:2], "999999"))


def lie_garbage(server: RedisServer, project: ProjectId) -> None:
    with server.admin() as admin:
        admin.mset(dict.fromkeys(keys(project), "garbage"))


def lie_type(server: RedisServer, project: ProjectId) -> None:
    with server.admin() as admin, admin.pipeline() as at_once:
        at_once.delete(*keys(project))
        for key in keys(project):
            at_once.hset(key, "generation", "7")
        at_once.execute()


def flush(server: RedisServer, project: ProjectId) -> None:
    with server.admin() as admin:
        admin.flushall()
        admin.script_flush()


def drop_connections(server: RedisServer, project: ProjectId) -> None:
    with server.admin() as admin:
        admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        admin.execute_command("CLIENT", "KILL", "TYPE", "pubsub")


def restart_with_stale_data(server: RedisServer, project: ProjectId) -> None:
    """Back comes what it knew some commits ago."""
    server.save()
    lie_low(server, project)
    server.kill()
    server.start()


def shout(server: RedisServer, project: ProjectId) -> None:
    with server.admin() as admin:
        for said in ("", "[]", '{"generation": 999999, "skills_generation": 3}', '{"generation": 0}'):
            admin.publish(f"project:{T}:{project}:invalidate", said)


def stay_dead(server: RedisServer, project: ProjectId) -> None:
    server.kill()


LIES = [lie_low, lie_high, lie_garbage, lie_type, flush, drop_connections, restart_with_stale_data, shout, stay_dead]
Lie = Callable[[RedisServer, ProjectId], None]


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_a_warm_checkout_elsewhere_shows_a_commit_at_once_whatever_redis_says(
    nodes: list[Manifold], own_redis: RedisServer, lie: Lie
) -> None:
    a, *others = nodes
    project = new_project(a, "demo", one=b"0")
    folders = [check_out(node, project, session_of(number)) for number, node in enumerate(others)]
    for round_number in range(3):
        lie(own_redis, project)
        committed = put(a, project, b"one", b"%d" % round_number)
        lie(own_redis, project)
        for number, node in enumerate(others):
            found = node.sessions.checkout(LOCAL_PRINCIPAL, session_of(number))
            assert (found.kind, found.generation) == (CheckoutKind.REFRESHED, committed.generation)
            assert (folders[number] / "one").read_bytes() == b"%d" % round_number
            assert node.sessions.checkout(LOCAL_PRINCIPAL, session_of(number)).kind is CheckoutKind.WARM


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_writers_on_three_nodes_lose_nothing_whatever_redis_says(
    nodes: list[Manifold], own_redis: RedisServer, lie: Lie
) -> None:
    project = new_project(nodes[0], "demo", start=b"0")
    folders = [check_out(node, project, session_of(number)) for number, node in enumerate(nodes)]
    for round_number in range(2):
        for number, folder in enumerate(folders):  # all on the same base, so all but the first are behind
            (folder / f"of-{number}").write_bytes(b"%d" % round_number)
        for number, node in enumerate(nodes):
            lie(own_redis, project)
            assert node.commits.commit(LOCAL_PRINCIPAL, session_of(number)).commit is not None
    assert nodes[0].history.log(LOCAL_PRINCIPAL, project)[0].generation == 1 + 2 * len(nodes)
    for number, node in enumerate(nodes):
        folder = check_out(node, session=session_of(number))
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
            "start": b"0", "of-0": b"1", "of-1": b"1", "of-2": b"1",
        }  # fmt: skip


# --- under load -------------------------------------------------------------------------------------------------------


@dataclass
class Told:
    """What a writer was told, in order: generation and content of its file."""

    commits: list[tuple[int, bytes]] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)


def test_nothing_is_lost_or_hidden_while_redis_dies_hangs_forgets_and_lies(
    nodes: list[Manifold], own_redis: RedisServer
) -> None:
    seed = random.getrandbits(32)
    print(f"seed {seed}")
    project = new_project(nodes[0], "demo", start=b"0")
    folders = [check_out(node, project, session_of(number)) for number, node in enumerate(nodes)]
    told = [Told() for _ in nodes]
    highest = [1]  # the highest generation that any writer was told of
    stop = threading.Event()

    def write(number: int) -> None:
        node, session, mine = nodes[number], session_of(number), folders[number] / f"of-{number}"
        try:
            while not stop.is_set():
                data = b"%d" % len(told[number].commits)
                mine.write_bytes(data)
                done = node.commits.commit(LOCAL_PRINCIPAL, session)
                told[number].commits.append((done.generation, data))
                highest[0] = max(highest[0], done.generation)
                seen = highest[0]
                assert node.sessions.checkout(LOCAL_PRINCIPAL, session).generation >= seen, "a commit was hidden"
        except BaseException as error:
            told[number].errors.append(error)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(len(nodes))]
    for writer in writers:
        writer.start()
    chance = random.Random(seed)
    faults: list[Lie] = [lie for lie in LIES if lie is not stay_dead] + [_die_for_a_while, _hang_for_a_while]
    chance.shuffle(faults)
    for fault in faults:
        before = sum(len(one.commits) for one in told)
        fault(own_redis, project)
        _wait_for(lambda before=before: sum(len(one.commits) for one in told) >= before + 6 or _failed(told))
    stop.set()
    for writer in writers:
        writer.join(SECONDS)
    assert [error for one in told for error in one.errors] == []
    _check_history(nodes[0], project, told)
    for number, node in enumerate(nodes):
        folder = check_out(node, session=session_of(number))
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
            "start": b"0", **{f"of-{n}": one.commits[-1][1] for n, one in enumerate(told)},
        }  # fmt: skip


def _failed(told: list[Told]) -> bool:
    return any(one.errors for one in told)


def _die_for_a_while(server: RedisServer, project: ProjectId) -> None:
    server.kill()
    time.sleep(2 * PAUSE_SECONDS)
    server.start()


def _hang_for_a_while(server: RedisServer, project: ProjectId) -> None:
    with server.frozen():
        time.sleep(1.0)


def _check_history(manifold: Manifold, project: ProjectId, told: list[Told]) -> None:
    """Each acknowledged commit is a generation of its own, which holds what was committed."""
    generations = sorted(generation for one in told for generation, _ in one.commits)
    assert generations == list(range(2, 2 + len(generations)))
    assert manifold.history.log(LOCAL_PRINCIPAL, project)[0].generation == generations[-1]
    for number, one in enumerate(told):
        for generation, data in one.commits[:: max(1, len(one.commits) // 20)]:
            opened = manifold.history.open_file(LOCAL_PRINCIPAL, project, b"of-%d" % number, Generation(generation))
            assert b"".join(map(bytes, opened.read())) == data


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.005)


# --- following --------------------------------------------------------------------------------------------------------


def _fetched(node: Manifold, project: ProjectId) -> int:
    assert node.prefetcher is not None
    held = node.prefetcher._held().get((T, project))
    return 0 if held is None else held.generation


def test_nodes_follow_each_other_again_after_redis_was_away(nodes: list[Manifold], own_redis: RedisServer) -> None:
    a, *others = nodes
    project = new_project(a, "demo", one=b"0")
    for number, node in enumerate(others):
        check_out(node, project, session_of(number))
    _wait_for(lambda: _subscribers(own_redis) == len(nodes))
    put(a, project, b"one", b"1")
    _wait_for(lambda: all(_fetched(node, project) == 2 for node in others))
    own_redis.kill()
    put(a, project, b"one", b"2")  # nobody hears of this one
    own_redis.start()
    _wait_for(lambda: all(_fetched(node, project) == 3 for node in others))
    for number, node in enumerate(others):
        assert (check_out(node, session=session_of(number)) / "one").read_bytes() == b"2"


def test_a_value_that_is_too_high_silences_nobody(nodes: list[Manifold], own_redis: RedisServer) -> None:
    a, b, _ = nodes
    project = new_project(a, "demo", one=b"0")
    check_out(b, project, session_of(1))
    _wait_for(lambda: _subscribers(own_redis) == len(nodes))
    a.context.generations.announce(Invalidation(T, project, Generation(999_999), Generation(0)))
    put(a, project, b"one", b"1")
    _wait_for(lambda: _fetched(b, project) == 2)


def _subscribers(server: RedisServer) -> int:
    with server.admin() as admin:
        return int(admin.execute_command("PUBSUB", "NUMPAT")) and len(admin.client_list(_type="pubsub"))


def test_no_plaintext_name_or_content_reaches_redis(
    nodes: list[Manifold], own_redis: RedisServer, tmp_path: Path
) -> None:
    secret = b"canary-8b2f"
    with own_redis.admin() as admin, admin.monitor() as monitor:
        project = new_project(nodes[0], secret.decode())
        work = check_out(nodes[0], project, session_of(0))
        (work / secret.decode()).write_bytes(secret)
        nodes[0].commits.commit(LOCAL_PRINCIPAL, session_of(0))
        with own_redis.admin() as marker:
            marker.echo("the end")
        said = []
        while not said or "the end" not in said[-1]:
            said.append(str(monitor.next_command()["command"]))
        assert any(project in one for one in said)
        assert not [one for one in said if secret.decode() in one or LOCAL_PRINCIPAL.user in one.split(":")]
