"""Work that stops before each of its calls of the catalog or the store, so that a test decides what comes between.

Only one thread runs at a time: whoever steps the work waits until it has stopped again. So a sequence of steps has one
outcome, and can be tried again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from tests.support.faulty_store import Crash

_MOST_SECONDS = 120.0


class Steps:
    """Work in a thread of its own.

    Attributes:
        at: the call that it is about to make. ``None``: it has not begun, or is done.
        was_cut_in: something else ran while it stood between two calls.
        was_swept: objects were removed meanwhile, without the grace that whoever reads has.
        may_fail: a server that it needs fails.
        holds_others_up: others of its node wait for a lock that it has.
        error: what it has raised, if it is done.
    """

    def __init__(self, name: str, work: Callable[[], object], node: str = "") -> None:
        self.name, self.node = name, node
        self.at: str | None = None
        self.done = False
        self.was_cut_in = self.was_swept = self.may_fail = self.holds_others_up = False
        self.result: Any = None
        self.error: BaseException | None = None
        self._work = work
        self._is_killed = False
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._go.acquire()
        _STEPPED.steps = self
        try:
            if not self._is_killed:
                self.result = self._work()
        except BaseException as error:
            self.error = error
        self.at, self.done = None, True
        self._stopped.release()

    def stop_before(self, call: str) -> None:
        """Called by the work itself. Raises Crash: it is killed."""
        if not self._is_killed:
            self.at = call
            self._stopped.release()
            self._go.acquire()
        if self._is_killed:
            raise Crash(f"before {call}")

    def go_on(self, calls: int = 1) -> None:
        """Let it make so many calls, and stop before the next one."""
        for _ in range(calls):
            if self.done:
                return
            self._go.release()
            assert self._stopped.acquire(timeout=_MOST_SECONDS), f"{self.name} does not come back from {self.at}"

    def go_to(self, call: str, *, may_end: bool = False) -> None:
        """Let it go on until it is about to make a call of this name. Fails where it ends before that."""
        self.go_on()
        while not self.done and self.at != call:
            self.go_on()
        assert may_end or not self.done, f"{self.name} never calls {call}: {self.error!r}"

    def finish(self) -> None:
        while not self.done:
            self.go_on()

    def kill(self) -> None:
        """End it where it stands: it makes no further call."""
        self._is_killed = True
        self.finish()


class _Stepped(threading.local):
    steps: Steps | None = None


_STEPPED = _Stepped()


@contextmanager
def holding_others_up() -> Iterator[None]:
    """Stepped work has a lock of its process within."""
    steps = _STEPPED.steps
    if steps is not None:
        steps.holds_others_up = True
    try:
        yield
    finally:
        if steps is not None:
            steps.holds_others_up = False


class Stops:
    """Passes calls on to a catalog or a store; stepped work stops before each.

    What other threads call for stepped work, such as those that read ahead, is passed on at once.
    """

    def __init__(self, inner: Any, seen: Callable[[str, tuple[Any, ...], Any], None] | None = None) -> None:
        """Args: ``seen``: told of each call that came back: its name, its arguments, its answer."""
        self._inner = inner
        self._seen = seen

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            if _STEPPED.steps is not None:
                _STEPPED.steps.stop_before(name)
            answer = found(*args, **kwargs)
            if self._seen is not None:
                self._seen(name, args, answer)
            return answer

        return call

    def commit_lease(self, *_args: object, **_kwargs: object) -> Any:
        """Nobody waits for stepped work: who comes first is what the test decides."""
        return nullcontext(True)
