"""schemathesis, which derives requests from the description of the API, finds no answer that it does not describe.

All its phases: examples, boundary values, random requests valid and not, and sequences of requests along what one says
of the next. Here in a short form that is the same each time; ``make test-api`` sends 300 requests of random kind to
each operation.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.clients import DOCUMENT, Clients
from tests.support.host import MakeHost

EXAMPLES = os.environ.get("MANIFOLD_TEST_API_EXAMPLES")
SHORT = ("--max-examples", "4", "--generation-deterministic")


@pytest.mark.slow
def test_schemathesis_finds_nothing(make_host: MakeHost, clients: Clients, tmp_path: Path) -> None:
    host = make_host(SERVER_MAX_REQUESTS_PER_PEER="64").ready()
    amount = ("--max-examples", EXAMPLES) if EXAMPLES else SHORT
    config = Path(__file__).parent / "schemathesis.toml"
    url = f"{host.base_url}{DOCUMENT}"
    clients.run(
        "schemathesis", "--config-file", config, "run", url, "--url", str(host.base_url), *amount,
        "--workers", "2", "--suppress-health-check", "all", cwd=tmp_path, is_shown=EXAMPLES is not None,
        SCHEMATHESIS_HOOKS=str(Path(__file__).parent / "schemathesis_hooks.py"),
    )  # fmt: skip
