"""Objects in a server's store, by the links that it has given out. What no link was given for cannot be reached.

Nothing that is answered is believed: an object is opened by whoever asked for it. What is seen to here is that an
answer ends, that it is no longer than it may be, and that a link leads to no place that the server has no business
with.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import ceil
from typing import NamedTuple, NoReturn

import urllib3

from manifold_common.adapters.remote.bodies import exchange, words_of
from manifold_common.adapters.remote.network import Forbidden, Network
from manifold_common.domain.retry_after import asked_wait, seconds_asked
from manifold_common.domain.served_link import PATH
from manifold_common.domain.wording import plural, span
from manifold_common.errors import (
    AlreadyExists,
    BadAnswer,
    CorruptObject,
    NoSpace,
    ObjectNotFound,
    QuotaExceeded,
    StoreUnavailable,
)
from manifold_common.ports.clock import Clock, Randomness
from manifold_common.ports.object_store import Buffer, check_ranges
from manifold_common.ports.retry import Rest, RetryPolicy, retry
from manifold_common.shapes.access import ObjectGrant, UploadLink

_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_CONNECTIONS = 16


class _Answer(NamedTuple):
    status: int
    data: Buffer
    asked_seconds: float | None
    """For how long the store asks to be left alone."""


class LinkedObjects:
    """Implements ObjectAccess. Safe for threads.

    Args:
        server_url: what stands before links that lead to the server itself.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        randomness: Randomness,
        network: Network,
        server_url: str,
        timeout_seconds: float = 60.0,
        policy: RetryPolicy | None = None,
    ) -> None:
        self._server_url = server_url.rstrip("/")
        self._clock = clock
        self._rest = Rest(clock)
        self._randomness = randomness
        self._policy = policy or RetryPolicy()
        self._urls: dict[str, str] = {}
        self._slots: dict[str, tuple[str, Mapping[str, str]]] = {}
        self._lock = threading.Lock()
        self._renewing = threading.Lock()
        self._renew: Callable[[], None] = _no_more
        timeout = urllib3.Timeout(connect=10.0, read=timeout_seconds)
        self._timeout_seconds = timeout_seconds
        self._pool = network.to_links(maxsize=_CONNECTIONS, timeout=timeout)

    def __reduce__(self) -> NoReturn:
        raise TypeError("links are never pickled or copied")

    def close(self) -> None:
        self._pool.clear()

    def grant(self, grants: Iterable[ObjectGrant]) -> None:
        """Take links to read. Of two for one object the newer counts."""
        with self._lock:
            self._urls.update({grant.key: self._whole(grant.url) for grant in grants if grant.url})

    def offer(self, key: str, link: UploadLink) -> None:
        """Take a link to create an object."""
        with self._lock:
            self._slots[key] = (self._whole(link.url), link.headers)

    def renew_with(self, renew: Callable[[], None]) -> None:
        self._renew = renew

    def put(self, key: str, data: Buffer, *, if_absent: bool = False) -> None:  # noqa: ARG002 - a slot is always so
        with self._lock:
            slot = self._slots.get(key)
        if slot is None:
            raise StoreUnavailable(f"the server has given no link to store object {key}", hint="try again")
        url, headers = slot
        body = bytes(data)
        sent = 0

        def send() -> None:
            nonlocal sent
            sent += 1
            answer = self._request("PUT", url, key, headers=headers, body=body)
            if answer.status in (409, 412) and sent > 1:
                return  # an earlier try got through, and only its answer was lost
            if answer.status in (409, 412):
                raise AlreadyExists(f"object {key} is there already")
            _refuse(answer, key)

        retry(self._policy, self._clock, self._randomness, send)

    def get(self, key: str, *, max_bytes: int) -> Buffer:
        def receive() -> Buffer:
            answer = self._read(key, {}, max_bytes)
            _refuse(answer, key)
            return answer.data

        return retry(self._policy, self._clock, self._randomness, receive)

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[Buffer]:
        check_ranges(ranges)
        return [self._range(key, start, length) for start, length in ranges]

    def delete(self, keys: Sequence[str]) -> None:
        """Nothing: no link removes an object. The server removes what nothing refers to, in its time."""

    def _range(self, key: str, start: int, length: int) -> Buffer:
        def receive() -> Buffer:
            headers = {"Range": f"bytes={start}-{start + length - 1}"}
            answer = self._read(key, headers, length)
            _refuse(answer, key)
            if answer.status != 206 or len(answer.data) != length:
                raise CorruptObject(key, f"it ends before the range {start}+{length}")
            return answer.data

        return retry(self._policy, self._clock, self._randomness, receive)

    def _read(self, key: str, headers: Mapping[str, str], most: int) -> _Answer:
        """Return the answer; a link that has ended is renewed once."""
        url = self._url(key)
        answer = self._request("GET", url, key, headers=headers, most=most)
        if answer.status != 403:
            return answer
        with self._renewing:
            if self._url(key) == url:  # else another thread has seen to it
                self._renew()
        return self._request("GET", self._url(key), key, headers=headers, most=most)

    def _whole(self, url: str) -> str:
        return self._server_url + url if url.startswith(PATH) else url

    def _url(self, key: str) -> str:
        with self._lock:
            url = self._urls.get(key)
        if url is None:
            raise StoreUnavailable(f"the server has given no link to object {key}", hint="check out again")
        return url

    def _request(
        self,
        method: str,
        url: str,
        key: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        most: int = 1 << 20,
    ) -> _Answer:
        """
        Raises:
            CorruptObject: the body is longer than ``most``. BadAnswer: the link leads where it may not.
        """
        if left := self._rest.left_seconds():
            raise StoreUnavailable(
                f"the store has asked to be left alone for another {span(ceil(left))}",
                hint="try again then",
                retryable=True,
                **asked_wait(left),
            )
        try:
            answer, data = exchange(
                self._pool,
                method,
                url,
                headers=headers or {},
                body=body,
                most=most,
                clock=self._clock,
                patience_seconds=self._timeout_seconds,
            )
        except Forbidden as error:
            raise BadAnswer(
                f"object {key} was not asked for: {error}",
                hint="if the server's store really is in your own network, set MANIFOLD_REMOTE_PRIVATE_STORE=true",
            ) from None
        except (urllib3.exceptions.HTTPError, UnicodeError) as error:
            hint = "check that this machine reaches the server's object store (S3_PUBLIC_ENDPOINT on the server)"
            if url.startswith(self._server_url + PATH):
                hint = "check the server's address and the network"
            raise StoreUnavailable(
                f"object {key} cannot be reached: {words_of(error)}", hint=hint, retryable=True
            ) from None
        if answer.status < 300 and len(data) > most:
            raise CorruptObject(key, f"it has more than the {plural(most, 'byte')} it may have")
        asked = seconds_asked(answer.headers.get("Retry-After"), self._clock.now()) if answer.status >= 300 else None
        self._rest.note(asked)
        return _Answer(answer.status, data, asked)


def _no_more() -> None:
    """There is nobody who would grant anew."""


def _refuse(answer: _Answer, key: str) -> None:
    status = answer.status
    if status < 300:
        return
    if status == 404:
        raise ObjectNotFound(f"there is no object {key}")
    if status == 403:
        raise StoreUnavailable(f"the link to object {key} has ended", hint="do it again: a new plan has new links")
    if status == 413:
        raise QuotaExceeded(
            f"the server takes no body as large as object {key}",
            hint="the operator may raise server.maxUploadBytes: a pack has up to 21 MiB, a draft up to 256 MiB",
        )
    if status == 507:
        raise NoSpace(f"the server's store has no room for object {key}", hint="free space on its disk, then try again")
    raise StoreUnavailable(
        f"the store answered {status} for object {key}",
        hint="try again later",
        retryable=status in _PASSING,
        **asked_wait(answer.asked_seconds),
    )
