"""The object stores that ``projects.backend`` can name, each with the module that opens it: a line for each.

What such a module has is said in ``bootstrap/stores``, and shown in docs/extending.md.
"""

from __future__ import annotations

STORES = {
    "filesystem": "manifold_common.bootstrap.stores.filesystem",
    "s3": "manifold_common.bootstrap.stores.s3",
}
