"""What the port of the generation cache promises, held against every adapter."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from manifold_common.adapters.memory.generation_cache import MemoryGenerationCache
from manifold_common.adapters.redis.generation_cache import RedisGenerationCache
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.errors import Unavailable
from manifold_common.ids import DEFAULT_TENANT, Generation, ProjectId, TenantId, encode_id
from manifold_common.ports.generation_cache import (
    GenerationCache,
    Generations,
    Invalidation,
    Listener,
    NoGenerationCache,
)

from tests.support.redis import RedisServer

T = DEFAULT_TENANT
OTHER = TenantId("other.tenant-1@x")
SHORT_SECONDS = 1.0

MakeCache = Callable[[float], GenerationCache]


@pytest.fixture(params=["memory", "redis"])
def make_cache(request: pytest.FixtureRequest) -> Iterator[MakeCache]:
    """Return a function that makes a cache whose locks live for some seconds."""
    made: list[GenerationCache] = []

    def make(lock_seconds: float) -> GenerationCache:
        if request.param == "memory":
            made.append(MemoryGenerationCache(SystemClock(), lock_seconds=lock_seconds))
        else:
            server: RedisServer = request.getfixturevalue("redis_server")
            options = server.options(lock_seconds=lock_seconds, timeout_seconds=5.0)
            made.append(RedisGenerationCache(options, clock=SystemClock(), randomness=SystemRandomness()))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def cache(make_cache: MakeCache) -> GenerationCache:
    return make_cache(60.0)


@pytest.fixture
def project() -> ProjectId:
    return ProjectId(encode_id(uuid.uuid4().bytes))


def news(project: ProjectId, generation: int, skills: int = 0, tenant: TenantId = T) -> Invalidation:
    return Invalidation(tenant, project, Generation(generation), Generation(skills))


def hinted(cache: GenerationCache, project: ProjectId, tenant: TenantId = T) -> tuple[int, int] | None:
    return cache.hint(tenant, project)


def heard(listener: Listener, project: ProjectId, count: int, seconds: float = 10.0) -> list[Invalidation]:
    """Return the next announcements of one project."""
    found: list[Invalidation] = []
    deadline = time.monotonic() + seconds
    while len(found) < count and time.monotonic() < deadline:
        one = listener.next(0.05)
        if one is not None and one.project == project:
            found.append(one)
    return found


# --- hints ------------------------------------------------------------------------------------------------------------


def test_nothing_is_known_of_what_was_never_announced(cache: GenerationCache, project: ProjectId) -> None:
    assert cache.hint(T, project) is None


def test_what_was_announced_is_hinted(cache: GenerationCache, project: ProjectId) -> None:
    assert cache.announce(news(project, 7, 3))
    assert cache.hint(T, project) == Generations(Generation(7), Generation(3))


def test_generation_0_is_a_generation(cache: GenerationCache, project: ProjectId) -> None:
    assert cache.announce(news(project, 0))
    assert hinted(cache, project) == (0, 0)


@pytest.mark.parametrize("first", [8, 9, 10, 99, 100, 10**14])
def test_a_generation_is_never_lowered(cache: GenerationCache, project: ProjectId, first: int) -> None:
    cache.announce(news(project, first, 5))
    cache.announce(news(project, 7, 2))
    assert hinted(cache, project) == (first, 5)
    cache.announce(news(project, first + 1, 4))
    assert hinted(cache, project) == (first + 1, 5)


def test_of_many_announcements_at_once_the_highest_stays(cache: GenerationCache, project: ProjectId) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda n: cache.announce(news(project, n * 7919 % 101, n % 3)), range(1, 101)))
    assert hinted(cache, project) == (100, 2)


def test_projects_and_tenants_are_apart(cache: GenerationCache, project: ProjectId) -> None:
    cache.announce(news(project, 4, 1))
    cache.announce(news(project, 9, 2, OTHER))
    assert hinted(cache, project) == (4, 1)
    assert hinted(cache, project, OTHER) == (9, 2)
    assert cache.hint(T, ProjectId("a" * 26)) is None


# --- announcements ----------------------------------------------------------------------------------------------------


def test_a_listener_hears_in_order_what_is_announced(cache: GenerationCache, project: ProjectId) -> None:
    sent = [news(project, n, n // 2) for n in range(1, 51)]
    with cache.listen() as listener:
        for one in sent:
            cache.announce(one)
        assert heard(listener, project, 50) == sent


def test_a_late_or_second_announcement_is_heard_as_well(cache: GenerationCache, project: ProjectId) -> None:
    """Or else a value that is wrongly high would silence a project."""
    cache.announce(news(project, 1000))
    with cache.listen() as listener:
        cache.announce(news(project, 3))
        cache.announce(news(project, 3))
        assert heard(listener, project, 2) == [news(project, 3)] * 2


def test_every_listener_hears_every_tenant(cache: GenerationCache, project: ProjectId) -> None:
    with cache.listen() as one, cache.listen() as two:
        cache.announce(news(project, 1, 0, OTHER))
        assert heard(one, project, 1) == heard(two, project, 1) == [news(project, 1, 0, OTHER)]


def test_what_was_announced_before_listening_is_not_heard(cache: GenerationCache, project: ProjectId) -> None:
    cache.announce(news(project, 1))
    with cache.listen() as listener:
        cache.announce(news(project, 2))
        assert heard(listener, project, 1) == [news(project, 2)]


def test_a_listener_that_hears_nothing_says_so_in_time(cache: GenerationCache) -> None:
    with cache.listen() as listener:
        started = time.monotonic()
        assert listener.next(0.05) is None
        assert time.monotonic() - started < 5


# --- turns ------------------------------------------------------------------------------------------------------------


def test_one_at_a_time_has_the_turn(cache: GenerationCache, project: ProjectId) -> None:
    with cache.writer_lease(T, project, wait_seconds=0) as first:
        with cache.writer_lease(T, project, wait_seconds=0) as second:
            assert (first, second) == (True, False)
        with cache.writer_lease(T, project, wait_seconds=0) as still:
            assert not still, "who did not have the turn must not end it"
        with cache.writer_lease(OTHER, project, wait_seconds=0) as other:
            assert other
    with cache.writer_lease(T, project, wait_seconds=0) as next_one:
        assert next_one


def test_a_turn_ends_with_an_error_too(cache: GenerationCache, project: ProjectId) -> None:
    with pytest.raises(ZeroDivisionError), cache.writer_lease(T, project, wait_seconds=0):
        raise ZeroDivisionError
    with cache.writer_lease(T, project, wait_seconds=0) as had:
        assert had


def test_who_waits_gets_the_turn_when_it_ends(cache: GenerationCache, project: ProjectId) -> None:
    inside, release, got = threading.Event(), threading.Event(), []

    def hold() -> None:
        with cache.writer_lease(T, project, wait_seconds=0) as had:
            got.append(had)
            inside.set()
            release.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(10)
    threading.Timer(0.05, release.set).start()
    with cache.writer_lease(T, project, wait_seconds=10) as had:
        got.append(had)
    thread.join()
    assert got == [True, True]


def test_the_turn_of_a_dead_holder_comes_to_an_end(make_cache: MakeCache, project: ProjectId) -> None:
    cache = make_cache(SHORT_SECONDS)
    dead = cache.writer_lease(T, project, wait_seconds=0)
    assert dead.__enter__()
    with cache.writer_lease(T, project, wait_seconds=10) as had:
        assert had
        dead.__exit__(None, None, None)  # it was not dead after all, and must not end a turn that is another's
        with cache.writer_lease(T, project, wait_seconds=0) as third:
            assert not third


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_it_says_that_it_is_well(cache: GenerationCache) -> None:
    health = cache.health()
    assert health.ok
    assert 0 <= health.latency_seconds < 5


def test_without_a_cache_nothing_is_known_and_nothing_waits(project: ProjectId) -> None:
    none: GenerationCache = NoGenerationCache()
    assert not none.announce(news(project, 3))
    assert none.hint(T, project) is None
    with (
        none.writer_lease(T, project, wait_seconds=60) as first,
        none.writer_lease(T, project, wait_seconds=60) as second,
    ):
        assert (first, second) == (True, True)
    with pytest.raises(Unavailable, match=r"projects\.redis\.enabled"):
        none.listen()
    assert none.health().ok
    none.close()
