"""The form of links that lead to the server itself: ``/api/objects/<key>?until=...&signature=...``.

No version stands in them, since a client follows them as they are; and no host, since a server does not know by which
address its clients reach it: a client puts the address that it uses in front.
"""

from __future__ import annotations

from manifold_common.domain.object_key import KEY

PATH = "/api/objects/"
SERVED_LINK = rf"{PATH}{KEY}\?[A-Za-z0-9_=&-]{{1,512}}"
"""Nothing of it is encoded, and no part of it is a dot or two: put behind an address, it leads nowhere else."""
