"""What this process is allowed to do, found out by trying."""

from __future__ import annotations

import os
import tempfile


def ignores_permissions() -> bool:
    """Say whether files that nobody may read can be read all the same, as root can."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "file")
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0))
        try:
            os.close(os.open(path, os.O_RDONLY))
        except PermissionError:
            return False
        return True
