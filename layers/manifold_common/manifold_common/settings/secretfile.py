"""A value that stands in a file of its own, as Docker and Kubernetes hand secrets to a process."""

from __future__ import annotations

import os
import stat
from pathlib import Path

MAX_BYTES = 64 * 1024


class Unusable(Exception):
    """What is wrong with the file, to complete "the file X ...". Never holds a part of it."""


def read_secret_file(path: Path) -> str:
    """Return what the file holds, without one line break at its end.

    A link is followed: Kubernetes replaces a secret by pointing a link elsewhere.

    Raises:
        Unusable.
    """
    try:
        # Not to wait for whoever writes into a pipe; which could not be read again when the secret has changed, either.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise Unusable("is not a regular file")
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise Unusable(f"cannot be read: {(error.strerror or type(error).__name__).lower()}") from None
    except ValueError:
        raise Unusable("cannot be read: no file can have this name") from None
    if len(data) > MAX_BYTES:
        raise Unusable(f"is larger than {MAX_BYTES} bytes: is it the file of a secret?")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise Unusable(f"is not UTF-8 text (byte {error.start})") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise Unusable("is empty")
    return text
