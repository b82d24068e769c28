"""The guide's commands work, in the order in which they stand."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.api import Api

GUIDE = Path(__file__).parents[3] / "docs" / "http-api.md"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_every_command_of_the_guide_works(api: Api, tmp_path: Path) -> None:
    blocks = re.findall(r"^```bash\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    script = "\n".join(blocks).replace("http://127.0.0.1:32180", f"http://127.0.0.1:{api.port}")
    assert script.count("curl") > 25
    # The short option for JSON came with curl 7.82; older ones are told at length.
    script = re.sub(r"--json ('[^']*')", r"-H 'Content-Type: application/json' -d \1", script)
    done = subprocess.run(
        ["bash", "-e", "-u", "-o", "pipefail", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (
        "304\n" in done.stdout
        and "412\n" in done.stdout
        and "206\n" in done.stdout
        and "generation_mismatch" in done.stdout
    )
    assert api.get("/api/v1/projects/demo/files/a.txt").text == "changed\n"
    assert {item["path"] for item in api.get("/api/v1/projects/copy/tree").json()["items"]} >= {"a.txt", "old"}
    assert api.get("/api/v1/sessions").json()["items"] == []


def test_the_guide_names_every_status_that_an_error_can_have(api: Api) -> None:
    named = set(re.findall(r"^\| (\d{3}) \|", GUIDE.read_text(), re.MULTILINE))
    document = api.get("/api/v1/openapi.json").json()
    used = {
        status
        for operations in document["paths"].values()
        for operation in operations.values()
        for status in operation["responses"]
        if status[0] in "45"
    }
    assert named == used
