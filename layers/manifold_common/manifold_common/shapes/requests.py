"""What a caller asks for."""

from __future__ import annotations

import msgspec

from manifold_common.domain.arguments import (
    checked_flag,
    listed_texts,
    optional_generation,
    optional_seen,
    settle,
)
from manifold_common.domain.conflict import Strategy
from manifold_common.domain.history import Seen
from manifold_common.ids import Generation


class CheckoutRequest(msgspec.Struct, frozen=True):
    """Where a session's working set is to be brought, and what may be done for that.

    Raises InvalidInput: a field is not what it is said to be. The strategy may be named, as in ``"ours"``.
    """

    generation: Generation | None = None
    """``None``: the newest."""
    paths: tuple[str, ...] = ()
    """Restrict a new session to these (gitignore syntax)."""
    strategy: Strategy = Strategy.FAIL
    """Whose version of a path is kept that was changed in the working set and by others. What ``THEIRS`` drops is kept
    in a session of its own."""
    seen_generation: Seen | None = None
    """The highest generation the caller knows of, best with its commit; a store that has less, or another one, is
    refused."""
    drop_lost_draft: bool = False
    """Give up saved work of the session if it cannot be read. What can be read is kept."""
    only_new: bool = False
    """The session must not be there yet: whoever is answered has it alone."""

    def __post_init__(self) -> None:
        settle(
            self,
            generation=optional_generation(self.generation, "generation"),
            paths=listed_texts(self.paths, "paths"),
            strategy=Strategy.of(self.strategy),
            seen_generation=optional_seen(self.seen_generation, "seen_generation"),
            drop_lost_draft=checked_flag(self.drop_lost_draft, "drop_lost_draft"),
            only_new=checked_flag(self.only_new, "only_new"),
        )


NEWEST = CheckoutRequest()
