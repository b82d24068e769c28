"""Around every invocation: ids for the logs, how long it took, and what its failure looks like from outside.

Order of effects: the work; the nudge of the fan-out if it wrote an event; metrics; then the answer, after which the
container may be frozen at any time. An error is logged where it matters, and answered: to HTTP as a problem document,
to a direct call as an exception that bears the error's code as its name, or in the answer if the caller asked for that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol, TypeVar

from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import Principal
from manifold_common.domain.correlation import correlated
from manifold_common.domain.panic import panics_as_errors
from manifold_common.errors import CatalogUnavailable, DatabaseDenied, Denied, ErrorKind, ManifoldError, told
from manifold_common.ids import SessionId
from manifold_common.shapes.decode import plain

from functions.invocation import http, metrics
from functions.invocation.container import CONTAINER, Container
from functions.invocation.decode import MalformedEvent
from functions.invocation.ids import Ids, ids_of
from functions.invocation.logs import logger, where_of
from functions.invocation.problems import AnswerTooLarge, answer_to, internal_answer
from functions.invocation.size import check_size

T = TypeVar("T")

_LOGGED = (ErrorKind.UNAVAILABLE, ErrorKind.CORRUPT, ErrorKind.INTERNAL)
_DATABASE = (CatalogUnavailable.code, DatabaseDenied.code)
_UNSAID = {
    ErrorKind.CONFLICT: "the state moved on meanwhile",
    ErrorKind.NOT_FOUND: "something that the event names does not exist",
    ErrorKind.INVALID: "the event is not valid",
    ErrorKind.DENIED: "this is not allowed",
    ErrorKind.UNAVAILABLE: "something that is needed does not answer",
    ErrorKind.CORRUPT: "stored data is damaged",
    ErrorKind.INTERNAL: "something went wrong inside Manifold",
}


class LambdaContext(Protocol):
    """What Lambda says of an invocation."""

    aws_request_id: str
    function_name: str

    def get_remaining_time_in_millis(self) -> int: ...


Handler = Callable[[Any, LambdaContext], Any]


class InvocationError(Exception):
    """What a direct caller gets to see: a subclass, named for the error's code."""


class Call:
    """One invocation, as the work sees it."""

    def __init__(self, container: Container, context: LambdaContext) -> None:
        self._container = container
        self.context = context

    @property
    def manifold(self) -> Manifold:
        """Every service, for work on behalf of no tenant."""
        return self._container.manifold

    def enter(self, principal: Principal, session: SessionId | None = None) -> Manifold:
        """Return every service, once what belonged to others is gone from this container.

        Raises:
            Denied: this container was started for another tenant. Others as ``Container.enter``.
        """
        tenant = getattr(self.context, "tenant_id", None)
        if tenant is not None and tenant != principal.tenant:
            raise Denied(
                f"this container works for the tenant {tenant[:80]!r} only", hint="invoke with that tenant's id"
            )
        return self._container.enter(principal, session)

    def kept(self, make: Callable[[Manifold], T]) -> T:
        """Return what ``make`` makes of the services: once for as long as this container has them."""
        return self._container.kept(make)

    def seconds_left(self) -> float:
        """Return how long Lambda lets this invocation go on."""
        return self.context.get_remaining_time_in_millis() / 1000

    def ends_within(self, seconds: float) -> Callable[[], bool]:
        """Return what tells whether so little time is left, and nothing more should be begun."""
        return lambda: self.seconds_left() < seconds


def function(name: str) -> Callable[[Callable[[Any, Call], Any]], Handler]:
    """Make a Lambda handler of a function of the event and the call."""

    def make(work: Callable[[Any, Call], Any]) -> Handler:
        def handler(event: Any, context: LambdaContext) -> Any:
            return _invoke(name, work, event, context)

        handler.__doc__ = work.__doc__
        return handler

    return make


_started: list[str] = []
"""The functions that have been invoked in this process: the first time is a cold start."""


def forget_starts() -> None:
    """Count the next invocation of each function as the first of its process."""
    _started.clear()


def _invoke(name: str, work: Callable[[Any, Call], Any], event: Any, context: LambdaContext) -> Any:
    ids = ids_of(event, context.aws_request_id)
    with correlated(ids.correlation):
        return _serve(name, work, event, context, ids)


def _serve(name: str, work: Callable[[Any, Call], Any], event: Any, context: LambdaContext, ids: Ids) -> Any:
    begun = time.monotonic()
    cold = name not in _started
    logger.append_keys(function=name, cold_start=cold, **ids.log_keys())
    metrics.start(context.function_name)
    if cold:
        _started.append(name)
        metrics.count("cold_starts", 1)
    CONTAINER.function = name
    outcome = "ok"
    try:
        if http.is_http(event):
            event = http.normal(event)
        with panics_as_errors():
            result = work(event, Call(CONTAINER, context))
        answer = result if http.is_http(event) else plain(result)
        check_size(answer)
        outcome = http.outcome_of(answer) if http.is_http(event) else outcome
    except ManifoldError as error:
        outcome = error.code
        if error.kind in _LOGGED:
            logger.error(f"{told(error)} {where_of(error, discreet=CONTAINER.is_discreet)}")
        return _refused(error, event, ids)
    except Exception as error:
        outcome = "internal"
        logger.error(where_of(error, discreet=CONTAINER.is_discreet))
        return _refused(error, event, ids)
    else:
        return answer
    finally:
        CONTAINER.wake_fanout(ids.correlation.id)
        CONTAINER.rest()
        seconds = time.monotonic() - begun
        metrics.milliseconds("invocation.duration", seconds)
        if outcome != "ok":
            metrics.count("invocation.errors", 1)
        if outcome in _DATABASE:
            metrics.count("database.failures", 1)
        metrics.flush()
        logger.info(f"{name}: {outcome} in {seconds * 1000:.0f} ms")


def _refused(error: Exception, event: Any, ids: Ids) -> Any:
    """Answer an error; or raise what stands for it."""
    if http.is_http(event):
        return http.problem(error, event)
    if isinstance(event, dict) and event.get("errors") == "return":
        known = answer_to(error, {}) if isinstance(error, ManifoldError) else None
        return {"error": (known or internal_answer()).document}
    raise _named(error, ids, discreet=CONTAINER.is_discreet) from None


def _named(error: Exception, ids: Ids, *, discreet: bool) -> InvocationError:
    """Return the exception that stands for an error. Lambda writes its text to the log, where no name may appear."""
    if not isinstance(error, ManifoldError) or error.kind is ErrorKind.INTERNAL:
        found = f"find {ids.correlation.id} in the function's log"
        return _class_of("internal")(f"{_UNSAID[ErrorKind.INTERNAL]} ({found})")
    if discreet and not isinstance(error, MalformedEvent | AnswerTooLarge):
        return _class_of(error.code)(f'{_UNSAID[error.kind]} (put "errors": "return" into the event to be told more)')
    return _class_of(error.code)(str(error))


@cache
def _class_of(code: str) -> type[InvocationError]:
    return type(code, (InvocationError,), {"__module__": "manifold"})
