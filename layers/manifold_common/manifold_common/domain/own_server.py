"""How a server that this program runs itself is told from one that somebody has named."""

from __future__ import annotations


class OwnServer(str):
    """The connection string of a database server that only this program reaches: its clients are its own, and nothing
    stands between, no pooler either.

    Whoever starts the server says so. What is made from such a string by editing it, or read from a setting, is a
    string like any other.
    """

    __slots__ = ()
