"""Lists of gitignore's patterns, matched in bounded time: of one name, and of all names together.

What is not a plain text to look up is one automaton whose state is an integer with a bit for each place in each
pattern, so a name is matched in one pass, however many wildcards it is held against: the time is a small constant for
each byte of the name and each 64 places. There is no backtracking, and so no name and no pattern takes much longer.

Many names held against many places take long all the same. So steps are counted, and whoever matches says how many
there may be (``Steps``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from manifold_common.domain.paths import ROOT, to_display
from manifold_common.domain.patience import check_wanted
from manifold_common.engine.working_set.pattern_syntax import NAME_BYTES, Pattern, State
from manifold_common.errors import QuotaExceeded

_SLASH = ord("/")
_WIDE = 128
"""From this many bytes on, a place is noted by the bytes that do not lead to it."""

MAX_STEPS = 50_000_000
"""Of one scan, or of choosing from one tree. A step is a byte of a name, held against up to 8,192 places (ten lines
with wildcards have some 100), and takes 0.1 to 0.3 microseconds; each list of patterns that a name is held against
takes 8 besides. A hundred thousand new names of 40 bytes against three ignore files take 15 to 30 million."""
_PLACES_OF_A_STEP = 13
"""As a power of two. So many places take as long as the interpreter takes to come to the next byte."""
_STEPS_OF_A_LIST = 8
_ASKED_EVERY = 1 << 18
_SHOWN = 80

_Ranked: TypeAlias = tuple[int, Pattern]


class Steps:
    """How much matching there may still be. Not for several threads."""

    def __init__(self, what: str, hint: str) -> None:
        """Args: ``what``: the patterns, in words; ``hint``: what helps against there being too many."""
        self._what = what
        self._hint = hint
        self.limit = self._left = MAX_STEPS
        self._ask_at = self._left - _ASKED_EVERY

    @property
    def taken(self) -> int:
        return self.limit - self._left

    def take(self, count: int, folder: bytes, path: bytes) -> None:
        """Raises QuotaExceeded: there are none left. Abandoned. Args: ``path``: what is matched, below ``folder``."""
        self._left -= count
        if self._left < self._ask_at:
            self._ask_at = self._left - _ASKED_EVERY
            check_wanted()
            if self._left < 0:
                where = to_display((folder + b"/" + path if folder else path)[:_SHOWN])
                raise QuotaExceeded(
                    f"{self._what} take more than {self.limit} steps to match, at {where!r}",
                    hint=self._hint,
                    limit=self.limit,
                )


class Patterns:
    """A list of patterns, of which a later one overrules an earlier one. Safe for several threads."""

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        ranked = list(enumerate(patterns))
        self.includes = [pattern.includes for _, pattern in ranked]
        """By rank."""
        self.names = _Names([(rank, pattern) for rank, pattern in ranked if pattern.names_only])
        self.paths = _Automaton([(rank, pattern) for rank, pattern in ranked if not pattern.names_only])


class Matcher:
    """Holds paths below ``folder`` against ``patterns``. Not for several threads."""

    def __init__(self, patterns: Patterns, steps: Steps, folder: bytes = ROOT) -> None:
        self._folder = folder
        self.includes = patterns.includes
        self._names = patterns.names
        self._paths = patterns.paths
        self._steps = steps
        self._steps_of_a_name_byte = patterns.names.steps_of_a_byte + patterns.paths.steps_of_a_byte
        self._inside: tuple[bytes, int] = (ROOT, patterns.paths.start)

    def last_match(self, path: bytes, *, is_folder: bool) -> int:
        """Return the rank of the last pattern that matches ``path`` itself, or -1. Ranks count from 0.

        A pattern that matches a folder above ``path`` matches what is in there as well; that is the caller's to ask.

        Raises:
            QuotaExceeded, Abandoned: see ``Steps``.
        """
        folder, _, name = path.rpartition(b"/")
        self._steps.take(_STEPS_OF_A_LIST + len(name) * self._steps_of_a_name_byte, self._folder, path)
        paths = self._paths
        rank = self._names.last_match(name, is_folder)
        if paths.start:
            rank = max(rank, paths.last_match(paths.read(self._enter(folder), name), is_folder))
        return rank

    def _enter(self, folder: bytes) -> int:
        """Return where the paths' automaton stands inside ``folder``. Who walks a tree asks for one often."""
        known, state = self._inside
        if folder == known:
            return state
        rest = folder
        if known and folder.startswith(known + b"/"):
            rest = folder[len(known) + 1 :]
        else:
            state = self._paths.start
        self._steps.take(len(rest) * self._paths.steps_of_a_byte, self._folder, folder)
        if rest:
            for name in rest.split(b"/"):
                state = self._paths.slash(self._paths.read(state, name))
        self._inside = (folder, state)
        return state


class _Names:
    """The patterns for names. Most are plain, or a star and a plain end: those are looked up."""

    def __init__(self, patterns: Sequence[_Ranked]) -> None:
        self._plain = _Texts()
        self._ends = _Texts()
        others: list[_Ranked] = []
        for rank, pattern in patterns:
            first, *rest = pattern.states
            if any(state.stay or state.stay_always or len(state.enter) != 1 for state in rest):
                others.append((rank, pattern))
                continue
            text = bytes(byte for state in rest for byte in state.enter)
            (self._ends if first.stay or first.stay_always else self._plain).add(text, rank, pattern.folders_only)
        self._end_texts = tuple(self._ends.ranks)
        self._end_lengths = sorted({len(text) for text in self._end_texts})
        self._others = _Automaton(others)
        self.steps_of_a_byte = self._others.steps_of_a_byte

    def last_match(self, name: bytes, is_folder: bool) -> int:
        rank = self._plain.rank(name, is_folder)
        if name.endswith(self._end_texts):
            size = len(name)
            for length in self._end_lengths:
                if length > size:
                    break
                rank = max(rank, self._ends.rank(name[size - length :], is_folder))
        others = self._others
        if others.start:
            rank = max(rank, others.last_match(others.read(others.start, name), is_folder))
        return rank


class _Texts:
    """The last pattern of each text."""

    def __init__(self) -> None:
        self.ranks: dict[bytes, int] = {}
        self._ranks_for_files: dict[bytes, int] = {}

    def add(self, text: bytes, rank: int, folders_only: bool) -> None:
        self.ranks[text] = rank
        if not folders_only:
            self._ranks_for_files[text] = rank

    def rank(self, text: bytes, is_folder: bool) -> int:
        return (self.ranks if is_folder else self._ranks_for_files).get(text, -1)


class _Automaton:
    """Patterns side by side: those of one kind, each with its rank."""

    def __init__(self, patterns: Sequence[_Ranked]) -> None:
        states = [state for _, pattern in patterns for state in pattern.states]
        self.steps_of_a_byte = 1 + (len(states) >> _PLACES_OF_A_STEP) if states else 0
        self._step = _transitions(states)
        self._stay_always = _mask(len(states), [i for i, state in enumerate(states) if state.stay_always])
        self._stay = self._stay_always | _mask(len(states), [i for i, state in enumerate(states) if state.stay])
        self._reopens = _mask(len(states), [i for i, state in enumerate(states) if state.reopens])
        starts: list[int] = []
        self._rank_at: dict[int, int] = {}
        ends: list[int] = []
        ends_at_files: list[int] = []
        at = 0
        for rank, pattern in patterns:
            starts.append(at)
            at += len(pattern.states)
            self._rank_at[at] = rank  # the bit length of an integer whose highest bit is this pattern's last
            ends.append(at - 1)
            if not pattern.folders_only:
                ends_at_files.append(at - 1)
        self._ends = _mask(len(states), ends)
        self._ends_at_files = _mask(len(states), ends_at_files)
        start = _mask(len(states), starts)
        self.start = start | (start & self._reopens) << 1

    def read(self, state: int, name: bytes) -> int:
        """Return the state after the bytes of a name, which has no slash."""
        step, stay = self._step, self._stay
        for byte in name:
            if not state:
                break
            state = ((state << 1) & step[byte]) | (state & stay)
        return state

    def slash(self, state: int) -> int:
        state = ((state << 1) & self._step[_SLASH]) | (state & self._stay_always)
        return state | (state & self._reopens) << 1

    def last_match(self, state: int, is_folder: bool) -> int:
        """Return the rank of the last pattern that has matched, or -1."""
        matched = state & (self._ends if is_folder else self._ends_at_files)
        return self._rank_at[matched.bit_length()] if matched else -1


def _transitions(states: Sequence[State]) -> list[int]:
    """Return for each byte the mask of the places that it leads to."""
    wide: list[int] = []
    narrow: dict[int, list[int]] = {}
    missing: dict[int, list[int]] = {}
    for place, state in enumerate(states):
        if len(state.enter) < _WIDE:
            for byte in state.enter:
                narrow.setdefault(byte, []).append(place)
        else:
            wide.append(place)
            for byte in NAME_BYTES - state.enter:
                missing.setdefault(byte, []).append(place)
    size = len(states)
    common = _mask(size, wide)
    return [
        (common & ~_mask(size, missing.get(byte, ())) if byte in NAME_BYTES else 0) | _mask(size, narrow.get(byte, ()))
        for byte in range(256)
    ]


def _mask(size: int, places: Iterable[int]) -> int:
    """Return an integer with these bits, of ``size``."""
    data = bytearray(size // 8 + 1)
    for place in places:
        data[place >> 3] |= 1 << (place & 7)
    return int.from_bytes(data, "little")
