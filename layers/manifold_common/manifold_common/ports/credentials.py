"""What a process shows to a server to be let in, which may be replaced while the process runs."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


class Credentials(Protocol[T]):
    """Whatever a client needs to be let in: a password, or all of its options. Safe for threads.

    An adapter connects with ``current``. When the server refuses it, ``instead_of`` says whether there is something
    else by now; if so, the adapter drops its connections, and does once more what was refused. A refusal is an answer:
    nothing was done, so that everything may be repeated after it.
    """

    @property
    def current(self) -> T: ...

    def instead_of(self, refused: T) -> T | None:
        """Return what to show instead of ``refused``, or ``None``: there is nothing else. Never raises.

        The source is read again, unless others have done so meanwhile, or have found nothing new a moment ago.
        """
        ...


class Fixed(Generic[T]):
    """Credentials that last as long as the process."""

    def __init__(self, current: T) -> None:
        self._current = current

    @property
    def current(self) -> T:
        return self._current

    def instead_of(self, refused: T) -> T | None:  # noqa: ARG002 - the shape of the port
        return None
