"""Which paths of a tree a sparse session has. Patterns are gitignore's syntax, and include what they match.

A pattern matches what it names and everything below it, and the last one that matches decides: ``src`` and then
``!src/vendor`` give all of ``src`` but what is in ``vendor``.
"""

from __future__ import annotations

from collections.abc import Iterator

from manifold_common.domain.arguments import listed_texts
from manifold_common.domain.paths import ROOT, ancestors_of, parent_of
from manifold_common.domain.tree import DIRECTORY, Changes, Tree
from manifold_common.engine.working_set.pattern_syntax import BadPattern, Pattern, parse_pattern
from manifold_common.engine.working_set.patterns import Matcher, Patterns, Steps
from manifold_common.errors import InvalidInput

MAX_PATTERNS_CHARACTERS = 16 << 10
"""Of all patterns together. It bounds the time that one path takes."""

_HINT = "use gitignore syntax, such as 'src/**' or '*.md'"
_HINT_STEPS = "use fewer of them, or name folders in place of wildcards"
_SHOWN = 80


class Scope:
    """The paths that match ``patterns``; every path when there are none."""

    def __init__(self, patterns: tuple[str, ...]) -> None:
        """Raises InvalidInput: no list of texts, one that is no pattern, only patterns that leave out, or too much."""
        self.patterns = patterns = listed_texts(patterns, "patterns")
        if sum(map(len, patterns)) > MAX_PATTERNS_CHARACTERS:
            raise InvalidInput(
                f"the path patterns are longer than {MAX_PATTERNS_CHARACTERS} characters together",
                hint="name folders instead of the files in them",
            )
        parsed = [_parse(pattern) for pattern in patterns]
        if parsed and not any(pattern.includes for pattern in parsed):
            raise InvalidInput(
                "the path patterns only leave out, so that there is nothing to leave it out of",
                hint="put '*' before them to start with everything",
            )
        self._patterns = Patterns(parsed)

    @property
    def is_whole(self) -> bool:
        return not self.patterns

    def select(self, tree: Tree) -> Tree:
        """Return the entries of ``tree`` that are in scope, and the folders above them.

        Raises:
            QuotaExceeded: so many paths cannot be held against such patterns. Abandoned.
        """
        if self.is_whole:
            return tree
        chosen = {ROOT} if ROOT in tree else set()
        for path in self.matching(tree):
            chosen.add(path)
            for above in ancestors_of(path):
                if above in chosen:
                    break
                chosen.add(above)
        return {path: entry for path, entry in tree.items() if path in chosen}

    def matching(self, tree: Tree) -> Iterator[bytes]:
        """Yield the paths of ``tree`` in scope, by path. There are patterns. Raises as ``select``."""
        patterns = Matcher(self._patterns, Steps("the path patterns", _HINT_STEPS))
        folders: dict[bytes, int] = {}
        for path in sorted(tree):  # a folder comes before what is in it
            if not path:
                continue
            is_folder = tree[path].kind == DIRECTORY
            rank = max(patterns.last_match(path, is_folder=is_folder), folders.get(parent_of(path), -1))
            if is_folder:
                folders[path] = rank
            if rank >= 0 and patterns.includes[rank]:
                yield path


def within_scope(changes: Changes, scope: Tree, tree: Tree) -> Changes:
    """Return ``changes`` without the removal of folders that still hold what this working set never had.

    Args:
        scope: what ``Scope.select`` gives of ``tree``.
    """
    if scope is tree:
        return changes
    left_out = {folder for path in tree if path not in scope for folder in ancestors_of(path)}
    return Changes(changes.upserts, changes.deletes - left_out)


def _parse(text: str) -> Pattern:
    try:
        pattern = parse_pattern(text.encode("utf-8", "surrogateescape"))
    except (BadPattern, UnicodeEncodeError) as error:
        reason = str(error) if isinstance(error, BadPattern) else "it is not text"
        raise InvalidInput(f"{text[:_SHOWN]!r} is not a path pattern: {reason}", hint=_HINT) from None
    if pattern is None:
        raise InvalidInput(f"{text[:_SHOWN]!r} is blank or a comment, not a path pattern", hint=_HINT)
    return pattern
