"""Whoever says when it wants to be asked again is not asked before: not by the request that heard it, nor by others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from manifold_common.adapters.memory.clock import ManualClock, SeededRandomness
from manifold_common.adapters.remote.network import Network
from manifold_common.adapters.remote.object_store import LinkedObjects
from manifold_common.adapters.remote.server import HttpServer
from manifold_common.adapters.vault.options import TokenSignIn, VaultOptions
from manifold_common.adapters.vault.provider import VaultKeyProvider
from manifold_common.errors import ManifoldError
from manifold_common.ports.retry import LONGEST_REST_SECONDS
from manifold_common.shapes.access import ObjectGrant

from tests.contract.vault_fixtures import CONTEXT, KEY, MATERIAL
from tests.support.lying_server import Answer, LyingServer, lying
from tests.support.openbao import OpenBao


class Throttled:
    """A server that answers ``status`` with ``Retry-After`` a number of times, and works then."""

    def __init__(self, server: LyingServer, works: Callable[[str, Any], Any]) -> None:
        self.server = server
        self.times = 0
        self.said: tuple[int, str] = (503, "0")
        server.lie = lambda asked, truth: self._refusal() if self.times else works(asked, truth)

    def _refusal(self) -> Answer:
        self.times -= 1
        status, seconds = self.said
        return Answer(b"slow down", status, {"Content-Type": "text/plain", "Retry-After": seconds})


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["vault", "server", "objects"])
def asked(
    request: pytest.FixtureRequest, openbao: OpenBao, transit_mount: str, clock: ManualClock
) -> Iterator[tuple[Throttled, Callable[[], object]]]:
    """A server that can be made to throttle, and what asks it for something."""
    with lying(openbao.url) as server:
        randomness = SeededRandomness()
        if request.param == "vault":
            openbao.make_key(KEY, transit_mount, derived=True)
            token = TokenSignIn(openbao.make_token(openbao.make_least_policy(transit_mount, KEY), period="24h"))
            options = VaultOptions(address=server.url, key_name=KEY, sign_in=token, mount_path=transit_mount)
            provider = VaultKeyProvider(options, clock=clock, randomness=randomness)
            wrapped = provider.wrap(MATERIAL, CONTEXT)
            yield Throttled(server, lambda _, truth: truth), lambda: provider.unwrap(wrapped, CONTEXT)
        elif request.param == "server":
            api = HttpServer(server.url, timeout_seconds=5, clock=clock, randomness=randomness, network=Network())
            yield Throttled(server, lambda *_: Answer(b'{"items": [], "next_cursor": null}')), api.projects
            api.close()
        else:
            network = Network()
            network._note("127.0.0.1")
            objects = LinkedObjects(clock=clock, randomness=randomness, network=network, server_url=server.url)
            grant = ObjectGrant("t/x", 1, "a" * 26, "a" * 26, b"", f"{server.url}/v1/x")  # type: ignore[arg-type]
            objects.grant([grant])
            yield Throttled(server, lambda *_: Answer(b"content")), lambda: objects.get("t/x", max_bytes=100)
            objects.close()


@pytest.mark.parametrize("status", [429, 503])
def test_a_request_comes_back_when_it_was_asked_to_and_not_sooner(
    asked: tuple[Throttled, Callable[[], object]], clock: ManualClock, status: int
) -> None:
    throttled, ask = asked
    throttled.times, throttled.said = 1, (status, "3")
    before = len(throttled.server.asked)
    ask()
    assert len(throttled.server.asked) == before + 2
    assert len(clock.slept) == 1
    assert 3 <= clock.slept[0] < 4


def test_none_of_many_requests_is_sent_while_a_server_wants_to_be_left_alone(
    asked: tuple[Throttled, Callable[[], object]], clock: ManualClock
) -> None:
    throttled, ask = asked
    throttled.times, throttled.said = 1000, (429, "3600")
    before = len(throttled.server.asked)
    with pytest.raises(ManifoldError) as caught:
        ask()
    assert clock.slept == [], "nobody waits for an hour"
    assert caught.value.details["retry_after_seconds"] == 3600

    def fails(_: int) -> str:
        with pytest.raises(ManifoldError) as caught:
            ask()
        return caught.value.message

    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(fails, range(40)))
    assert all("asked to be left alone for another" in message for message in said)
    assert len(throttled.server.asked) == before + 1
    clock.advance(LONGEST_REST_SECONDS)
    throttled.times = 0
    ask()
    assert len(throttled.server.asked) == before + 2, "a mistake stops nothing for longer than a minute"
