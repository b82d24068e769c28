"""An object store in an S3 bucket, through obstore.

Who retries: this adapter does, around each request, and obstore's own retries are off. obstore's rule knows neither
the codes that compatible stores answer (SlowDown as 400, ConditionalRequestConflict), nor bodies that broke off, and
its waits cannot be tested. Listings are the exception: their pages hang on a token that only obstore holds, so there
obstore retries (bounded by the same policy) and this adapter does not. A page that breaks off in its body is not
retried: the listing raises StoreUnavailable.

After a lost acknowledgement a conditional put may find its own object and raise AlreadyExists, as the port says.

obstore's threads do not survive a fork: make the store in the process that uses it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import chain
from typing import NoReturn, TypeVar

from manifold_common.adapters.s3.client import make_client
from manifold_common.adapters.s3.coalesce import coalesce
from manifold_common.adapters.s3.failures import KEYS_REFUSED, translate
from manifold_common.adapters.s3.native import S3Client, S3Failure
from manifold_common.adapters.s3.options import S3Options
from manifold_common.adapters.s3.redirects import look_for_redirect
from manifold_common.adapters.s3.slots import Slots
from manifold_common.domain.object_key import check_folder, check_object_key
from manifold_common.domain.patience import patience
from manifold_common.domain.wording import plural
from manifold_common.errors import CorruptObject, ManifoldError, NoSpace, ObjectNotFound, StoreUnavailable
from manifold_common.ports.clock import Clock, Randomness
from manifold_common.ports.credentials import Credentials, Fixed
from manifold_common.ports.object_store import Buffer, ObjectInfo, StoreHealth, check_ranges
from manifold_common.ports.retry import retry

T = TypeVar("T")

SINGLE_PUT_BYTES = 64 * 2**20
"""A larger object is put in parts: a request should fit well into its timeout."""
PART_BYTES = 16 * 2**20
_PARTS_AT_ONCE = 4
_RANGES_AT_ONCE = 10
"""So many obstore asks for at the same time, and so many deletions where each is a request."""
_DELETE_AT_ONCE = 1000
_LIST_AT_ONCE = 1000
_COALESCE_BYTES = 2**20
_SLOWEST_BYTES_PER_SECOND = 512 * 2**10
"""A request that somebody waits for may take longer by this for its bytes."""
_TRIED_EVERY_SECONDS = 10.0
_LARGEST_PROBE_BYTES = 2**20
_PROBE_KEY = "health-probe"


class S3ObjectStore:
    """Thread-safe. Clients are made when first used."""

    def __init__(
        self,
        options: S3Options,
        *,
        clock: Clock,
        randomness: Randomness,
        credentials: Credentials[S3Options] | None = None,
    ) -> None:
        """``credentials``: instead of the options' own, which are the ones to begin with."""
        self.options = options
        self._credentials = credentials or Fixed(options)
        self._clock = clock
        self._randomness = randomness
        self._lock = threading.Lock()
        self._refused: tuple[int, str] | None = None
        """Size of the last object, if it could not be stored, and why."""
        self._tried_at = -math.inf
        self._looked_at: S3Options | None = None
        """Those whose server answered without a redirect."""
        self._slots = Slots(options.max_connections)
        self._clients: dict[tuple[float, int], S3Client] = {}
        """By their time-out in seconds and how often they repeat a request."""

    def __repr__(self) -> str:
        return f"S3ObjectStore({self.options.bucket!r} at {self.options.endpoint or 'AWS'})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an S3 store holds credentials and is never pickled or copied")

    def put(self, key: str, data: Buffer, *, if_absent: bool = False) -> None:
        check_object_key(key)
        view = memoryview(data).cast("B")
        parts = len(view) > SINGLE_PUT_BYTES and not if_absent  # only a single request can be conditional
        at_once = min(_PARTS_AT_ONCE, self._slots.limit)

        def send() -> None:
            client = self._client(PART_BYTES * at_once if parts else len(view))
            client.put(
                key,
                view,
                if_absent=if_absent,
                use_multipart=parts,
                chunk_size=PART_BYTES,
                max_concurrency=at_once,
            )

        try:
            self._do(key, send, at_once=at_once if parts else 1)
        except (NoSpace, StoreUnavailable) as error:
            self._refused = len(view), error.message
            raise
        self._refused = None

    def get(self, key: str, *, max_bytes: int) -> Buffer:
        check_object_key(key)

        def receive() -> Buffer:
            answer = self._client(max_bytes).get(key)
            if answer.size > max_bytes:
                raise CorruptObject(key, f"it has {plural(answer.size, 'byte')}, more than the {max_bytes} it may have")
            data = answer.read()
            if len(data) != answer.size:
                raise StoreUnavailable(f"the answer for object {key} broke off", retryable=True)
            return data

        return self._do(key, receive)

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[Buffer]:
        check_object_key(key)
        check_ranges(ranges)
        if not ranges:
            return []
        merged, holder = coalesce(ranges, _COALESCE_BYTES)
        starts, lengths = zip(*merged, strict=True)
        size = sum(lengths)

        at_once = min(len(starts), _RANGES_AT_ONCE, self._slots.limit)
        # obstore has no bound of its own that could be lowered, so it is asked for as many as may be.
        step = at_once if at_once < _RANGES_AT_ONCE else len(starts)

        def receive() -> list[memoryview]:
            client = self._client(size)
            steps = [slice(at, at + step) for at in range(0, len(starts), step)]
            return [part for one in steps for part in client.get_ranges(key, starts[one], lengths[one])]

        found = self._do(key, receive, at_once=at_once)
        parts: list[Buffer] = []
        for (start, length), index in zip(ranges, holder, strict=True):
            at = start - merged[index][0]
            part = found[index][at : at + length]
            if len(part) != length:
                end = merged[index][0] + len(found[index])
                raise CorruptObject(key, f"it ends at byte {end}, before the range {start}+{length}")
            parts.append(part)
        return parts

    def head(self, key: str) -> ObjectInfo | None:
        check_object_key(key)

        def ask() -> ObjectInfo | None:
            try:
                return ObjectInfo(key, *self._client(0).head(key))
            except S3Failure as error:
                if not error.failure.missing:
                    raise
                return None

        found = self._do(key, ask)
        # A HEAD that answers 404 has no body to say whether the object is missing or the bucket, or whether it was a
        # proxy that spoke. A GET has.
        return found or self._do(key, lambda: self._look(self._client(0), key))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return self._list(check_folder(prefix))

    def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            check_object_key(key)
        bulk = self.options.deletes_in_bulk
        step = _DELETE_AT_ONCE if bulk else min(_RANGES_AT_ONCE, self._slots.limit)
        for at in range(0, len(keys), step):
            batch = keys[at : at + step]
            try:
                self._do(batch[0], partial(self._delete_batch, batch), at_once=1 if bulk else len(batch))
            except ObjectNotFound:  # from stores that say so
                continue

    def health(self) -> StoreHealth:
        begun = self._clock.monotonic()
        try:
            self._once("", lambda: self._look(self._probe, _PROBE_KEY), at_once=0)
        except ManifoldError as error:
            return StoreHealth(False, str(error), self._clock.monotonic() - begun)
        trouble = self._try_writing()
        return StoreHealth(True, repr(self), self._clock.monotonic() - begun, trouble)

    def _try_writing(self) -> str:
        """Return why the last object could not be stored, ``""`` once one can. A server tells nothing of its disks; so
        it is asked by an object of that size, but only after one was refused, and not at every look."""
        refused, now = self._refused, self._clock.monotonic()
        if refused is None:
            return ""
        if now - self._tried_at >= _TRIED_EVERY_SECONDS:
            self._tried_at = now
            size, _ = refused
            try:
                self._probe.put(_PROBE_KEY, bytes(max(1, min(size, _LARGEST_PROBE_BYTES))))
                self._refused = None
                self._probe.delete(_PROBE_KEY)
                return ""
            except S3Failure as error:
                self._refused = size, translate(error.failure, _PROBE_KEY, self.options).message
        return f"the last write failed: {(self._refused or refused)[1]}"

    # --- requests -------------------------------------------------------------------------------------------------

    def _do(self, key: str, request: Callable[[], T], *, at_once: int = 1) -> T:
        return retry(
            self.options.retries, self._clock, self._randomness, lambda: self._once(key, request, at_once=at_once)
        )

    def _once(self, key: str, request: Callable[[], T], *, at_once: int = 1) -> T:
        """Make a request, and once more if it was refused and there are other credentials by now.

        Args:
            at_once: as how many it counts. 0: it waits for no others.
        """
        shown = self.options
        for again in (True, False):
            try:
                with self._slots.taken(at_once, patience(shown.retries.budget_seconds)) if at_once else nullcontext():
                    return request()
            except S3Failure as error:
                failure = error.failure
            if failure.code in KEYS_REFUSED and shown.account is not None:
                shown.account.forget()
            if not (again and failure.refuses and self._replaced(shown)):
                raise translate(failure, key, shown)
        raise AssertionError

    def _replaced(self, refused: S3Options) -> bool:
        """Tell whether there are other credentials by now than those that were refused; then clients are made anew."""
        fresh = self._credentials.instead_of(refused)
        if fresh is None:
            return False
        with self._lock:
            self.options = fresh
            self._clients.clear()
        return True

    def _delete_batch(self, batch: Sequence[str]) -> None:
        self._client(0).delete(batch)

    def _look(self, client: S3Client, key: str) -> ObjectInfo | None:
        """Ask for the object with a GET whose body is not read."""
        try:
            facts = client.get(key)
        except S3Failure as error:
            if error.failure.code != "NoSuchKey":
                raise
            return None
        return ObjectInfo(key, facts.size, facts.last_modified)

    def _list(self, folder: str) -> Iterator[ObjectInfo]:
        self._do(folder, self._look_before_lending)  # obstore repeats only what it asks itself
        pages = self._once(folder, lambda: _begun(self._listing.pages(folder or None, _LIST_AT_ONCE)))
        try:
            empty = True
            for facts in self._in_turn(pages):
                empty = False
                yield ObjectInfo(*facts)
            if empty:  # obstore reads any page as a listing of nothing, such as that of a proxy
                self._look(self._listing, _PROBE_KEY)
            return
        except S3Failure as error:
            problem = translate(error.failure, folder, self.options)
        raise problem

    def _in_turn(self, pages: Iterator[T]) -> Iterator[T]:
        """Yield the same objects. Any of them may be the first of a page, which is a request."""
        while True:
            with self._slots.taken(1, patience(self.options.retries.budget_seconds)):
                found = next(pages, None)
            if found is None:
                return
            yield found

    # --- clients --------------------------------------------------------------------------------------------------

    def _client(self, size: int) -> S3Client:
        """Return the client for a request of so many bytes: where somebody waits, one that gives up sooner."""
        usual = self.options.request_timeout_seconds
        wanted = patience(usual)
        needed = wanted + size / _SLOWEST_BYTES_PER_SECOND
        if wanted >= usual or needed >= usual:
            return self._bulk
        while wanted < needed:  # few clients, since each has connections of its own
            wanted *= 2
        return self._made(min(wanted, usual))

    @property
    def _bulk(self) -> S3Client:
        return self._made(self.options.request_timeout_seconds)

    @property
    def _listing(self) -> S3Client:
        return self._made(self.options.request_timeout_seconds, self.options.retries.attempts - 1)

    @property
    def _probe(self) -> S3Client:
        return self._made(self.options.health_timeout_seconds)

    def _made(self, timeout_seconds: float, retries: int = 0) -> S3Client:
        while True:
            options = self._look_before_lending()
            with self._lock:
                if options is not self.options:
                    continue  # replaced meanwhile: these may lend what those did not
                made = self._clients.get((timeout_seconds, retries))
                if made is None:
                    made = make_client(options, timeout_seconds=timeout_seconds, retries=retries)
                    self._clients[timeout_seconds, retries] = made
                return made

    def _look_before_lending(self) -> S3Options:
        """Return the options, once their server may be sent a session token: when it answered and did not redirect.

        Raises:
            S3Failure: it may not.
        """
        options = self.options
        if options.may_lend_a_token and self._looked_at is not options:
            failure = look_for_redirect(options, _PROBE_KEY)
            if failure is not None:
                raise S3Failure(failure)
            self._looked_at = options
        return options


def _begun(pages: Iterator[T]) -> Iterator[T]:
    """Return the same objects, the first of which has been asked for already."""
    first = next(pages, None)
    return iter(()) if first is None else chain((first,), pages)
