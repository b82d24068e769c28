"""A client that openapi-python-client makes does everything that the API is for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.clients import DOCUMENT, Clients, write_document
from tests.support.host import MakeHost

HERE = Path(__file__).parent / "python"


@pytest.mark.slow
def test_a_generated_python_client_does_the_whole_tour(make_host: MakeHost, clients: Clients, tmp_path: Path) -> None:
    """It has a function for every operation, and its types hold under ``mypy --strict``."""
    host = make_host().ready()
    document = write_document(host.get(DOCUMENT).json(), tmp_path)
    program = shutil.copy(HERE / "tour.py", tmp_path)
    clients.run(
        "openapi-python-client", "generate", "--meta", "none", "--output-path", "manifold_client", "--path", document,
        "--config", HERE / "config.yaml", cwd=tmp_path,
    )  # fmt: skip
    clients.run("mypy", "--strict", program, cwd=tmp_path)
    clients.run("python", program, str(host.base_url), cwd=tmp_path)
