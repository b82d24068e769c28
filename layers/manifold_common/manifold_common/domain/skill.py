"""Which paths hold skills. The *skills generation* is the last generation that touched one of them."""

from __future__ import annotations

from collections.abc import Iterable

SKILL_FOLDERS = (b".manifold/skills", b".skills", b".agents/skills")
_BELOW = tuple(folder + b"/" for folder in SKILL_FOLDERS)


def touches_skills(paths: Iterable[bytes]) -> bool:
    return any(path in SKILL_FOLDERS or path.startswith(_BELOW) for path in paths)
