"""What a kind of job is to the worker that does it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

from manifold_common.domain.job import ItemState
from manifold_common.errors import ManifoldError


class Plan(NamedTuple):
    """A page of items."""

    items: Sequence[str]
    """Each says which thing it is, never how that was when the job was planned: it may be done days later."""
    cursor: str | None
    """Where the next page begins; ``None``: this was the last."""


Work: TypeAlias = Callable[[str], ItemState]
"""Works on one item. Returns ``DONE``, or ``SKIPPED``: there was nothing to do any more.

It may be cut off anywhere, and the same item may be worked on by another at the same time: what it does has to be
right when it is done twice. One that takes minutes asks ``check_wanted`` now and then: the worker's time may be over.

Raises ManifoldError: something is away, and the item is tried again; or it has failed for good. Abandoned: it was cut
off, and is free for others at once.
"""


class NotForHere(Exception):
    """This process cannot do a job that others can, by its settings: it is left to them as it is."""

    def __init__(self, reason: ManifoldError) -> None:
        """Args: ``reason``: for who asks for the job to be done here."""
        super().__init__()
        self.reason = reason


class JobKind(Protocol):
    """One job's work. Used by one thread."""

    @property
    def is_open(self) -> bool:
        """Its errors can name no files, so that the words of all of them are kept in the clear."""

    @property
    def at_once(self) -> int:
        """How many items are claimed and reported together: what takes some seconds."""

    def plan(self, cursor: str | None) -> Plan:
        """Return the next page of items; ``None``: the first. It may be asked for more than once, and by several
        workers at a time. Raises ManifoldError: it is asked for again later."""

    def begin(self, items: Sequence[str]) -> Work:
        """Look up what these items have in common, and return what works on each. Raises ManifoldError: they are tried
        again later."""
