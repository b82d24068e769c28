"""The one place that calls obstore.

Whatever comes out of it instead of an answer leaves as ``S3Failure``: its exceptions, Python's own, and panics of its
native code, which are no ``Exception``. What tells a process or a task to end passes untouched. obstore's exception is
never chained: its text may name URLs with credentials in their query.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import obstore
from obstore.store import S3Store

from manifold_common.adapters.s3.failures import Failure, read_failure
from manifold_common.domain.panic import is_panic
from manifold_common.ports.aws_account import AwsKeys, NoAwsKeys

if TYPE_CHECKING:
    from obstore.store import S3Credential

T = TypeVar("T")


class S3Failure(Exception):
    """A request that was not done."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


class Answer:
    """To a GET: the facts of an object, and its bytes when they are asked for."""

    def __init__(self, result: Any) -> None:
        self._result = result
        self.size, self.last_modified = _facts(result.meta)

    def read(self) -> memoryview:
        return _guarded(lambda: memoryview(self._result.bytes()))


class S3Client:
    """One bucket. Thread-safe.

    Args:
        keys: returns credentials that are good now; it is asked before each request, in the caller's thread.
        lasting: they never change.
    """

    def __init__(self, bucket: str, options: Mapping[str, Any], keys: Callable[[], AwsKeys], *, lasting: bool) -> None:
        """Raises S3Failure: the options cannot be used."""
        self._keys = keys
        self._lasting = lasting
        self._current: AwsKeys | None = None
        self._store = _guarded(lambda: S3Store(bucket, credential_provider=self._provide, **options))

    def put(self, key: str, data: memoryview | bytes, *, if_absent: bool = False, **parts: Any) -> None:
        self._do(lambda: obstore.put(self._store, key, data, mode="create" if if_absent else "overwrite", **parts))

    def get(self, key: str) -> Answer:
        return self._do(lambda: Answer(obstore.get(self._store, key)))

    def get_ranges(self, key: str, starts: Sequence[int], lengths: Sequence[int]) -> Sequence[memoryview]:
        def ask() -> Sequence[memoryview]:
            # coalesce=0: obstore would panic on a merged answer that ends before one of its parts.
            found = obstore.get_ranges(self._store, key, starts=starts, lengths=lengths, coalesce=0)
            return [memoryview(part) for part in found]

        return self._do(ask)

    def head(self, key: str) -> tuple[int, datetime]:
        return self._do(lambda: _facts(obstore.head(self._store, key)))

    def pages(self, folder: str | None, at_once: int) -> Iterator[tuple[str, int, datetime]]:
        pages = self._do(lambda: iter(obstore.list(self._store, folder, chunk_size=at_once)))
        while (page := self._do(lambda: next(pages, None))) is not None:
            for facts in page:
                yield facts["path"], facts["size"], facts["last_modified"]

    def delete(self, keys: str | Sequence[str]) -> None:
        self._do(lambda: obstore.delete(self._store, keys))

    def links(self, keys: Sequence[str], *, seconds: int) -> list[str]:
        """Return presigned GETs."""
        return self._do(lambda: list(obstore.sign(self._store, "GET", list(keys), timedelta(seconds=seconds))))

    def _do(self, request: Callable[[], T]) -> T:
        try:
            self._current = self._keys()
        except NoAwsKeys as error:
            raise S3Failure(Failure(None, "", str(error), passing=False, hint=error.hint)) from None
        return _guarded(request)

    def _provide(self) -> S3Credential:
        keys = self._current
        assert keys is not None
        return {
            "access_key_id": keys.access_key_id,
            "secret_access_key": keys.secret_access_key,
            "token": keys.session_token,
            # What seems to end now is asked for again with each request: 10 us more.
            "expires_at": None if self._lasting else datetime.now(UTC),
        }


def _facts(meta: Any) -> tuple[int, datetime]:
    """Raises S3Failure: it was not an S3 server that answered, but a proxy with a page of its own."""
    if meta["e_tag"] is None:
        raise S3Failure(
            Failure(
                None, "", "what answered is not an S3 server: it sent no ETag", passing=False, hint="check s3.endpoint"
            )
        )
    return meta["size"], meta["last_modified"]


def _guarded(call: Callable[[], T]) -> T:
    try:
        return call()
    except S3Failure:
        raise
    except BaseException as error:
        if not (isinstance(error, Exception) or is_panic(error)):
            raise
        failure = read_failure(error)
    raise S3Failure(failure)
