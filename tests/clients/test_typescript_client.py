"""A client of openapi-fetch, with the types that openapi-typescript makes, does everything that the API is for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.clients import DOCUMENT, Clients, write_document
from tests.support.host import MakeHost

HERE = Path(__file__).parent / "typescript"


@pytest.mark.slow
def test_a_generated_typescript_client_does_the_whole_tour(
    make_host: MakeHost, clients: Clients, tmp_path: Path
) -> None:
    """The compiler takes it in its strictest mode, without a cast."""
    host = make_host().ready()
    document = write_document(host.get(DOCUMENT).json(), tmp_path)
    for name in ("tour.ts", "tsconfig.json"):
        shutil.copy(HERE / name, tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "node_modules").symlink_to(clients.packages)
    clients.run("openapi-typescript", document, "--output", "api.d.ts", cwd=tmp_path)
    clients.run("tsc", cwd=tmp_path)
    clients.run("node", "built/tour.js", str(host.base_url), cwd=tmp_path)
