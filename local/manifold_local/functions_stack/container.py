"""Runs first in each Python of the stand-in for AWS, as its ``sitecustomize``: gives a container folders of its own.

On Lambda, each container has a ``/tmp`` that nobody else sees. Here they are processes that share one machine's, so
settings put what a function would keep in ``/tmp`` elsewhere: ciphertext on the disk, working sets in RAM.
"""

import os
import tempfile

_disk = os.environ.pop("MANIFOLD_CONTAINERS_DISK", "") if "AWS_LAMBDA_FUNCTION_NAME" in os.environ else ""
_ram = os.environ.pop("MANIFOLD_CONTAINERS_RAM", "") if _disk else ""
if _disk and _ram:
    _name = os.environ["AWS_LAMBDA_FUNCTION_NAME"] + "-"
    os.environ["WORKDIR"] = tempfile.mkdtemp(prefix=_name, dir=_disk)
    os.environ["PROJECTS_WORKSPACE_TMPFS_DIR"] = tempfile.mkdtemp(prefix=_name, dir=_ram)
