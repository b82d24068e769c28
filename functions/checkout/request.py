"""What may be asked of the checkout function."""

from __future__ import annotations

from typing import Annotated

from manifold_common.domain.conflict import Strategy
from manifold_common.domain.history import parse_point
from manifold_common.ids import Generation
from manifold_common.shapes.requests import CheckoutRequest
from msgspec import Meta

from functions.invocation.principal import OnBehalf

GenerationNumber = Annotated[int, Meta(ge=0, le=2**53 - 1)]
SeenGeneration = GenerationNumber | Annotated[str, Meta(pattern=r"^[0-9]{1,15}-[a-z2-7]{26}$")]


class CheckoutEvent(OnBehalf, tag_field="action", tag="checkout", kw_only=True):
    """Bring a session's working set, in this container, to a generation."""

    session: str | None = None
    """Id of a session, new or not; made up when absent."""
    project: str | None = None
    """Name or id; needed for a new session."""
    generation: GenerationNumber | None = None
    """The newest one by default."""
    paths: tuple[str, ...] = ()
    """Restrict a new session to these (gitignore syntax)."""
    strategy: Strategy = Strategy.FAIL
    """What to do where others changed the same paths."""
    seen_generation: SeenGeneration | None = None
    """The highest generation seen before, best as ``7-<commit id>``; a store that has less, or another commit there, is
    refused."""
    drop_lost_draft: bool = False
    """Give up saved work of the session if it cannot be read."""

    def wanted(self) -> CheckoutRequest:
        """Raises InvalidInput."""
        return CheckoutRequest(
            None if self.generation is None else Generation(self.generation),
            self.paths,
            self.strategy,
            None if self.seen_generation is None else parse_point(str(self.seen_generation)),
            self.drop_lost_draft,
        )
