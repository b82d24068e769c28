"""gitignore's syntax: from a line to the places a name goes through when it matches.

A pattern without a slash (but at its end) is held against names, any other one against paths. ``*``, ``?`` and classes
match bytes within a name; ``**/``, ``/**/`` and ``/**`` stand for any folders. A slash at the end wants a folder, ``!``
in front reverses. docs/path-patterns.md has the whole syntax.
"""

from __future__ import annotations

from typing import NamedTuple

_SLASH = ord("/")
NAME_BYTES: frozenset[int] = frozenset(range(256)) - {0, _SLASH}
_NOTHING: frozenset[int] = frozenset()

_CLASSES = {
    b"alnum": frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"),
    b"alpha": frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"),
    b"blank": frozenset(b" \t"),
    b"cntrl": frozenset([*range(32), 127]),
    b"digit": frozenset(b"0123456789"),
    b"graph": frozenset(range(33, 127)),
    b"lower": frozenset(b"abcdefghijklmnopqrstuvwxyz"),
    b"print": frozenset(range(32, 127)),
    b"punct": frozenset(b"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"),
    b"space": frozenset(b" \t\n\r"),
    b"upper": frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    b"xdigit": frozenset(b"0123456789abcdefABCDEF"),
}


class BadPattern(ValueError):
    """A line that can never match anything. The message says why."""


class State(NamedTuple):
    """A place in a pattern: what has been matched so far."""

    enter: frozenset[int]
    """The bytes that lead here from the place before."""
    stay: bool = False
    """Whether more bytes of the same name change nothing."""
    stay_always: bool = False
    """Whether more bytes of any kind change nothing."""
    reopens: bool = False
    """Whether the place after this one is reached with each slash, and at once."""


class Pattern(NamedTuple):
    states: tuple[State, ...]
    includes: bool
    """False after ``!``."""
    folders_only: bool
    names_only: bool
    """Whether it is held against the last name of a path alone."""


def parse_pattern(line: bytes) -> Pattern | None:
    """Return the pattern of one line; ``None`` for a blank line and a comment.

    Raises:
        BadPattern: it can match nothing.
    """
    if not line or line.startswith(b"#"):
        return None
    text = _without_trailing_spaces(line)
    if not text:
        return None
    includes = not text.startswith(b"!")
    text = text if includes else text[1:]
    folders_only = text.endswith(b"/")
    text = text[:-1] if folders_only else text
    names_only = b"/" not in text
    text = text.removeprefix(b"/")
    if not text:
        raise BadPattern("it is empty")
    if b"\0" in text:
        raise BadPattern("it has a NUL byte")
    return Pattern(_states(text), includes, folders_only, names_only)


def _without_trailing_spaces(line: bytes) -> bytes:
    """Return ``line`` without the spaces at its end, except one that a backslash keeps."""
    text = line.rstrip(b" ")
    if len(text) < len(line):
        backslashes = len(text) - len(text.rstrip(b"\\"))
        if backslashes % 2:
            return line[: len(text) + 1]
    return text


def _states(text: bytes) -> tuple[State, ...]:
    states = [State(_NOTHING)]
    at = 0
    while at < len(text):
        byte = text[at : at + 1]
        if byte == b"*":
            at = _stars(text, at, states)
        elif byte == b"?":
            states.append(State(NAME_BYTES))
            at += 1
        elif byte == b"[":
            members, at = _bracket(text, at + 1)
            states.append(State(members))
        else:
            if byte == b"\\":
                at += 1
                byte = text[at : at + 1]
                if not byte:
                    raise BadPattern("it ends in a backslash")
            states.append(State(frozenset(byte)))
            at += 1
    return tuple(states)


def _stars(text: bytes, start: int, states: list[State]) -> int:
    """Take the stars at ``start``; return where they end."""
    end = start
    while text[end : end + 1] == b"*":
        end += 1
    last = states[-1]
    at_name_start = start == 0 or text[start - 1] == _SLASH
    after = text[end : end + 2]
    if end - start == 1 or not at_name_start or (after[:1] not in (b"", b"/") and after != b"\\/"):
        states[-1] = last._replace(stay=True)
        return end
    if after[:1] != b"/":
        states[-1] = last._replace(stay_always=True)
        return end
    if len(states) < 2 or not states[-2].reopens:  # a second **/ after a first one adds nothing
        states[-1] = last._replace(stay_always=True, reopens=True)
        states.append(State(_NOTHING))
    return end + 1


def _bracket(text: bytes, at: int) -> tuple[frozenset[int], int]:
    """Read a class from after its ``[``; return its members and where it ends."""
    negated = text[at : at + 1] in (b"!", b"^")
    at += negated
    members: set[int] = set()
    first = at
    previous: int | None = None
    while at == first or text[at : at + 1] != b"]":
        if text.startswith(b"[:", at):
            end = text.find(b"]", at + 2)
            if end < 0:
                raise BadPattern("it has a '[' without a ']'")
            if end > at + 2 and text[end - 1 : end] == b":":
                named = _CLASSES.get(text[at + 2 : end - 1])
                if named is None:
                    raise BadPattern("it has a '[:class:]' of an unknown name")
                members |= named
                previous, at = None, end + 1
                continue
        if text[at : at + 1] == b"-" and previous is not None and text[at + 1 : at + 2] not in (b"", b"]"):
            last, at = _member(text, at + 1)
            members.update(range(previous, last + 1))
            previous = None
        else:
            previous, at = _member(text, at)
            members.add(previous)
    return frozenset(NAME_BYTES - members if negated else members & NAME_BYTES), at + 1


def _member(text: bytes, at: int) -> tuple[int, int]:
    """Return one byte of a class, which a backslash may precede, and where it ends."""
    if text[at : at + 1] == b"\\":
        at += 1
    if at >= len(text):
        raise BadPattern("it has a '[' without a ']'")
    return text[at], at + 1
