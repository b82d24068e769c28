"""What Lambda and an HTTP API refuse, to the byte. docs/functions.md tells people the same numbers."""

from __future__ import annotations

MAX_EVENT_BYTES = 6_291_456
"""An event of a call that waits for its answer, as JSON."""
MAX_ASYNC_EVENT_BYTES = 1_048_576
"""An event of a call that nobody waits for."""
MAX_ANSWER_BYTES = 6_291_556
"""An answer, as the runtime writes it."""
MAX_REQUEST_BYTES = 10_485_760
"""The body of a request to an HTTP API."""
MAX_HEADER_BYTES = 10_240
"""The request line and all headers of such a request."""
GATEWAY_SECONDS = 30.0
"""How long an HTTP API waits for a function, which goes on all the same."""
INIT_SECONDS = 10.0
"""How long a container may take to start before it counts against the function's own time."""
IDLE_SECONDS = 300.0
"""How long a container is kept for the next call."""
