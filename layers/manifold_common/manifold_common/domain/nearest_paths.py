"""Which paths of a tree may have been meant by one that is not in it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from manifold_common.domain.paths import parent_of, to_display
from manifold_common.nearest import did_you_mean, nearest

_MOST_PATHS = 200_000
_MOST_ELSEWHERE = 20
_MOST_SHOWN = 3


def path_hint(tree: Iterable[bytes], wanted: bytes) -> str | None:
    """Return a hint that names paths like ``wanted``: of the same folder, or of the same name elsewhere.

    Of a very large tree not all is seen. 100,000 paths take 10 to 60 ms of a processor.
    """
    folder, name = parent_of(wanted), wanted.rpartition(b"/")[2]
    prefix, suffix = (folder + b"/" if folder else b""), b"/" + name
    cut = len(prefix)
    seen = list(islice(tree, _MOST_PATHS))
    elsewhere = [path for path in seen if path.endswith(suffix) or path == name][:_MOST_ELSEWHERE]
    beside = [path for path in seen if path.startswith(prefix) and path.find(b"/", cut) < 0 and len(path) > cut]
    by_name = {to_display(path[cut:]): path for path in beside}
    found = [by_name[near] for near in nearest(to_display(name), by_name, most=_MOST_SHOWN)]
    by_path = {to_display(path): path for path in elsewhere}
    found += [by_path[near] for near in nearest(to_display(wanted), by_path, most=_MOST_SHOWN, likeness=0.0)]
    return did_you_mean([to_display(path) for path in found[:_MOST_SHOWN]]) or None
