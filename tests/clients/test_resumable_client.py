"""A client of the tus protocol that nobody here wrote (tus-js-client) uploads files in parts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.api import Api
from tests.support.clients import Clients

PROGRAM = Path(__file__).parent / "resumable" / "upload.cjs"


@pytest.mark.slow
def test_tus_js_client_uploads_goes_on_and_ends(api: Api, clients: Clients, tmp_path: Path) -> None:
    api.project()
    content = os.urandom(3_500_000)
    (tmp_path / "file").write_bytes(content)
    url = f"http://127.0.0.1:{api.port}"
    clients.run("node", PROGRAM, url, tmp_path / "file", cwd=tmp_path, NODE_PATH=str(clients.packages))
    files = {item["path"] for item in api.get("/api/v1/projects/demo/tree").json()["items"]}
    assert files == {"whole.bin", "resumed.bin"}
    for path in files:
        assert api.get(f"/api/v1/projects/demo/files/{path}").content == content
    commits = api.get("/api/v1/projects/demo/commits").json()["items"]
    assert [one["message"] for one in commits] == ["", "by tus-js-client"]
