"""``docs/openapi-v1.json``: what clients of the API may rely on.

``make openapi`` (``python -m tests.clients.snapshot``) writes it from the application. It refuses where a client that
was made from the file there would break; ``--breaking`` writes it all the same, which is for before the API is frozen.
"""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from functions.api.app import create_app
from tests.clients.compatibility import incompatibilities
from tests.support.manifold import folder_manifold
from tests.support.shown import ROOT

FILE = ROOT / "docs" / "openapi-v1.json"
BREAKING = "--breaking"


def served() -> dict[str, Any]:
    """Return the document that a server of this source answers."""
    with tempfile.TemporaryDirectory() as folder, closing(folder_manifold(Path(folder))) as manifold:
        document: dict[str, Any] = create_app(manifold).openapi()
    return document


def text_of(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def main(arguments: list[str], file: Path = FILE) -> int:
    document = served()
    if BREAKING not in arguments and file.exists():
        broken = incompatibilities(json.loads(file.read_text()), document)
        if broken:
            print(*broken, f"error: not written; {BREAKING} writes it all the same", sep="\n", file=sys.stderr)
            return 1
    file.write_text(text_of(document))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
