"""Generations, commit locks and invalidations in Redis or Valkey.

| key or channel | type | life | what |
|---|---|---|---|
| ``project:{tenant}:{project}:generation`` | string, decimal | 7 days since it rose | highest generation announced |
| ``project:{tenant}:{project}:skills_gen`` | string, decimal | the same | highest skills generation announced |
| ``project:{tenant}:{project}:lock`` | string, a random token | ``lockSeconds`` | somebody is publishing a commit |
| ``project:{tenant}:{project}:invalidate`` | channel, JSON | | the project has reached a generation |

A generation is only ever raised, by a script, so that announcements may come in any order. Because its life is not
prolonged by what does not raise it, a value that is wrongly high is forgotten in the end. What is not a generation at
all (text, another type) is replaced by the next announcement.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeGuard, TypeVar

from manifold_common.adapters.redis.breaker import Breaker
from manifold_common.adapters.redis.options import REFUSED, RedisOptions
from manifold_common.errors import InvalidInput, Unavailable
from manifold_common.ids import Generation, ProjectId, TenantId, parse_project_id, parse_tenant_id
from manifold_common.ports.clock import Clock, Randomness
from manifold_common.ports.credentials import Credentials, Fixed
from manifold_common.ports.generation_cache import CacheHealth, Generations, Invalidation, Listener

if TYPE_CHECKING:
    from manifold_common.adapters.redis.client import RedisClient, RedisSubscription

T = TypeVar("T")

_DIGITS = 15
"""Up to here a number is exact in Lua, which counts in doubles."""
_GENERATION = re.compile(rb"[0-9]{1,%d}" % _DIGITS)
_MESSAGE_BYTES = 1024
_LOCK_POLL_SECONDS = 0.01
_PROBE = "project:health:probe"
"""Stands where a tenant and a project do; no listener takes it for one."""
_PROBE_LIFE_MS = 1000
_HAD, _BUSY = 1, 0

_ANNOUNCE = """
local function raise_to(key, value)
  local known = redis.pcall('GET', key)
  if type(known) ~= 'string' or #known > DIGITS or not string.match(known, '^%d+$')
    or tonumber(known) < tonumber(value)
  then
    redis.call('SET', key, value, 'PX', ARGV[3])
  end
end
raise_to(KEYS[1], ARGV[1])
raise_to(KEYS[2], ARGV[2])
return redis.call('PUBLISH', ARGV[4], ARGV[5])
""".replace("DIGITS", str(_DIGITS))

_LOCK = """
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
local left = redis.call('PTTL', KEYS[1])
if left < 0 or left > tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0
"""
"""What stands in the place of a lock without an end, or with one far away, gets the end that a lock has."""

_UNLOCK = """
if redis.pcall('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class RedisGenerationCache:
    """Implements the GenerationCache port. Connects, and loads its client, when it is first used."""

    def __init__(
        self,
        options: RedisOptions,
        *,
        clock: Clock,
        randomness: Randomness,
        credentials: Credentials[RedisOptions] | None = None,
    ) -> None:
        """``credentials``: instead of the options' own, which are the ones to begin with."""
        self._options = options
        self._credentials = credentials or Fixed(options)
        self._clock = clock
        self._randomness = randomness
        self._breaker = Breaker("Redis", pause_seconds=options.pause_seconds, clock=clock)
        self._lock = threading.Lock()
        self._client: RedisClient | None = None
        self._use_failed = False

    def hint(self, tenant: TenantId, project: ProjectId) -> Generations | None:
        found = self._try(lambda client: client.read(_hint_keys(_place(tenant, project))))
        generation, skills = map(_parse, found or (None, None))
        if generation is None or skills is None or skills > generation:
            return None
        return Generations(generation, skills)

    def announce(self, news: Invalidation) -> bool:
        tenant, project, generation, skills = news
        said = json.dumps({"generation": generation, "skills_generation": skills})
        arguments: list[str | int] = [generation, skills, int(self._options.hint_seconds * 1000)]
        return self._try(lambda client: _announce(client, _place(tenant, project), arguments, said)) is not None

    @contextmanager
    def writer_lease(self, tenant: TenantId, project: ProjectId, *, wait_seconds: float) -> Iterator[bool]:
        keys = [f"{_place(tenant, project)}:lock"]
        token = self._randomness.token(16).hex()
        answer = self._acquire(keys, token, wait_seconds)
        try:
            yield answer != _BUSY
        finally:
            if answer == _HAD:
                self._try(lambda client: client.run(_UNLOCK, keys, [token]))

    @contextmanager
    def listen(self) -> Iterator[Listener]:
        subscription = self._ask(lambda client: client.subscribe("project:*:invalidate", self._clock))
        try:
            yield RedisListener(subscription)
        finally:
            subscription.close()

    def health(self) -> CacheHealth:
        started = self._clock.monotonic()
        try:
            self._ask(self._examine)
        except Unavailable as error:
            self._breaker.failed(error)
            self._use_failed = True
            return CacheHealth(False, error.message, self._clock.monotonic() - started)
        self._breaker.succeeded()
        self._use_failed = False
        return CacheHealth(True, "it answers", self._clock.monotonic() - started)

    def _examine(self, client: RedisClient) -> None:
        """Raises Unavailable."""
        client.ping()
        if self._use_failed:  # what failed may be what only a use shows: a full memory, a copy that takes no writes
            client.read([f"{_PROBE}:generation"])
            _announce(client, _PROBE, [0, 0, _PROBE_LIFE_MS], "")

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _acquire(self, keys: list[str], token: str, wait_seconds: float) -> object:
        """Return ``_HAD``, ``_BUSY``, or anything else when the server did not do its part."""
        life_ms = int(self._options.lock_seconds * 1000)
        deadline = self._clock.monotonic() + wait_seconds
        while True:
            answer = self._try(lambda client: client.run(_LOCK, keys, [token, life_ms]))
            if answer != _BUSY or self._clock.monotonic() >= deadline:
                return answer
            self._clock.sleep(_LOCK_POLL_SECONDS * (0.5 + self._randomness.uniform()))

    def _try(self, request: Callable[[RedisClient], T]) -> T | None:
        """Return what the server answers, or ``None`` where it does not."""
        if not self._breaker.admits():
            return None
        try:
            answer = self._ask(request)
        except Unavailable as error:
            self._breaker.failed(error)
            self._use_failed = True
            return None
        self._breaker.succeeded()
        return answer

    def _ask(self, request: Callable[[RedisClient], T]) -> T:
        """Return what the server answers, to other credentials if it refuses these and there are others by now.

        Raises:
            Unavailable.
        """
        client = self._connected()
        try:
            return request(client)
        except Unavailable as error:
            if error.details.get("reason") != REFUSED or self._credentials.instead_of(client.options) is None:
                raise
        return request(self._connected())

    def _connected(self) -> RedisClient:
        with self._lock:
            wanted = self._credentials.current
            if self._client is not None and self._client.options != wanted:
                self._client.close()
                self._client = None
            if self._client is None:
                from manifold_common.adapters.redis.client import RedisClient

                self._client = RedisClient(wanted)
            return self._client


class RedisListener:
    def __init__(self, subscription: RedisSubscription) -> None:
        self._subscription = subscription

    def next(self, timeout_seconds: float) -> Invalidation | None:
        message = self._subscription.next(timeout_seconds)
        return None if message is None else _read(*message)


def _announce(client: RedisClient, place: str, arguments: list[str | int], said: str) -> object:
    return client.run(_ANNOUNCE, _hint_keys(place), [*arguments, f"{place}:invalidate", said])


def _hint_keys(place: str) -> list[str]:
    return [f"{place}:generation", f"{place}:skills_gen"]


def _place(tenant: TenantId, project: ProjectId) -> str:
    return f"project:{tenant}:{project}"


def _parse(value: bytes | None) -> Generation | None:
    return Generation(int(value)) if value is not None and _GENERATION.fullmatch(value) else None


def _read(channel: str, data: bytes) -> Invalidation | None:
    """Return what a message says. Anybody who can reach the server can publish: what makes no sense is passed over."""
    parts = channel.split(":")
    if len(parts) != 4 or len(data) > _MESSAGE_BYTES:
        return None
    try:
        tenant, project = parse_tenant_id(parts[1]), parse_project_id(parts[2])
        said = json.loads(data)
    except (InvalidInput, ValueError, RecursionError):
        return None
    if not isinstance(said, dict):
        return None
    generation, skills = said.get("generation"), said.get("skills_generation")
    if not (_is_generation(generation) and _is_generation(skills)):
        return None
    return Invalidation(tenant, project, generation, skills)


def _is_generation(value: object) -> TypeGuard[Generation]:
    return type(value) is int and 0 <= value < 10**_DIGITS
