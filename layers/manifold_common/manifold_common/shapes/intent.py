"""What a caller says of a change that is to become a commit, however the change is made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import msgspec

from manifold_common.domain.arguments import checked_text, json_facts, optional_request, optional_seen, settle
from manifold_common.domain.conflict import Strategy
from manifold_common.domain.history import Seen
from manifold_common.domain.named_request import NamedRequest
from manifold_common.ids import SessionId, UserId


class Intent(msgspec.Struct, frozen=True):
    """Raises InvalidInput: a field is not what it is said to be. The strategy may be named, as in ``"ours"``."""

    message: str = ""
    """Why the change was made."""
    provenance: Mapping[str, Any] = {}
    """What made it: agent run, model, tool calls, cost. JSON-compatible."""
    expected: Seen | None = None
    """Commit only on top of this very generation: the project's newest, whichever one the change was made on."""
    strategy: Strategy = Strategy.FAIL
    """Whose version of a path is published that others changed too."""
    request: NamedRequest | None = None
    """A name for this request: a second one of that name changes nothing, and is answered like the first."""

    def __post_init__(self) -> None:
        settle(
            self,
            message=checked_text(self.message, "message"),
            provenance=json_facts(self.provenance, "provenance"),
            expected=optional_seen(self.expected, "expected"),
            strategy=Strategy.of(self.strategy),
            request=optional_request(self.request),
        )

    def or_message(self, message: str) -> Intent:
        """Return this with ``message``, where the caller gave none."""
        return self if self.message else msgspec.structs.replace(self, message=message)

    def of_session(self, user: UserId, session: SessionId) -> Intent:
        """Return this with what tells its request from others of the same name: who asks, for which session, and what
        is said of the commit. What the working set holds is not among it: it may be something else when the request
        comes again."""
        if self.request is None:
            return self
        said = (user, session, self.message, self.provenance, self.strategy.value)

        def fingerprint() -> bytes:
            return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).digest()

        return msgspec.structs.replace(self, request=self.request._replace(fingerprint=fingerprint))


NO_INTENT = Intent()
