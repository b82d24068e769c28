"""Marks a database server that this program runs itself, as opposed to one that was configured."""

from __future__ import annotations


class OwnServer(str):
    """The connection string of a database server that only this program reaches: all clients are its own, and nothing
    is in between, not even a pooler.

    Whoever starts the server says so. What is made from such a string by editing it, or read from a setting, is a
    string like any other.
    """

    __slots__ = ()
