"""What two clients asked for, what they were told, and what the project's history must therefore be.

Every commit's message names the operation that made it. So the history that is found can be replayed on a model: each
acknowledged operation is there once, at the generation that was told; one without an answer is there once or not at
all; and each generation's tree is what the operations up to it make.
"""

from __future__ import annotations

import base64
import itertools
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

FOLDER, FILE, LINK = "folder", "file", "link"


class Node(NamedTuple):
    kind: str
    content: bytes
    """Of a file its bytes, of a link its target."""


Tree = dict[str, Node]
Change = dict[str, Any]
"""As the body of a commit over HTTP has it."""


@dataclass
class Operation:
    name: str
    effect: Callable[[list[Tree]], Tree]
    """From the trees of all generations so far to the next one."""
    acknowledged: int | None = None
    """The generation that the client was told."""


class Journal:
    """The model of one project."""

    def __init__(self) -> None:
        self.trees: list[Tree] = [{}]
        self._open: dict[str, Operation] = {}
        self._numbers = itertools.count(1)
        self.unanswered: list[bool] = []
        """Of each operation that got no answer, whether it was made."""

    def new(self, kind: str, effect: Callable[[list[Tree]], Tree]) -> Operation:
        operation = Operation(f"{kind} {next(self._numbers)}", effect)
        self._open[operation.name] = operation
        return operation

    def acknowledge(self, operation: Operation, answer: dict[str, Any]) -> None:
        """Take the answer to an operation that was made; one that changed nothing is no commit."""
        if answer["commit"] is None:
            del self._open[operation.name]
        else:
            operation.acknowledged = answer["generation"]

    def settle(self, messages: list[str]) -> None:
        """Take the messages of the generations made since the last time, oldest first."""
        for message in messages:
            generation = len(self.trees)
            operation = self._open.pop(message)
            if operation.acknowledged is None:
                self.unanswered.append(True)
            else:
                assert operation.acknowledged == generation, operation.name
            self.trees.append(operation.effect(self.trees))
        for operation in self._open.values():
            assert operation.acknowledged is None, f"{operation.name} was acknowledged, and is gone"
            self.unanswered.append(False)
        self._open.clear()


def below(tree: Tree, folder: str) -> Tree:
    """Return ``folder`` and everything in it."""
    return {path: node for path, node in tree.items() if path == folder or path.startswith(f"{folder}/")}


def replaced(folder: str, part: Tree) -> Callable[[list[Tree]], Tree]:
    """Return the effect of making ``folder`` be what ``part`` is now."""
    part = dict(part)
    return lambda trees: {**{p: n for p, n in trees[-1].items() if p not in below(trees[-1], folder)}, **part}


def make(tree: Tree, change: Change) -> None:
    """Make a change to a tree in place."""
    if change["op"] == "delete":
        for path in below(tree, change["path"]):
            del tree[path]
        return
    if change["op"] == "move":
        path, node = change["destination"]["path"], tree.pop(change["source"]["path"])
    else:
        path = change["path"]
        node = Node(LINK, change["target"].encode()) if change["op"] == "link" else Node(FILE, content_of(change))
    for above in list(Path(path).parents)[:-1]:
        tree.setdefault(str(above), Node(FOLDER, b""))
    tree[path] = node


def make_on_disk(root: Path, change: Change) -> None:
    """Make a change in a working set, as its user does."""
    if change["op"] == "delete":
        path = root / change["path"]
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        return
    path = root / (change["destination"]["path"] if change["op"] == "move" else change["path"])
    path.parent.mkdir(parents=True, exist_ok=True)
    if change["op"] == "move":
        (root / change["source"]["path"]).rename(path)
        return
    path.unlink(missing_ok=True)
    if change["op"] == "link":
        path.symlink_to(change["target"])
    else:
        path.write_bytes(content_of(change))


def content_of(change: Change) -> bytes:
    return base64.b64decode(change["content_base64"])


def content(rng: random.Random) -> bytes:
    """Return the bytes of a file: mostly small ones, now and then some that need packs of their own."""
    size = rng.choice((0, 10, 1000, 1000, 40_000, 40_000, 300_000, 3_000_000))
    return rng.randbytes(size // 2) + bytes(size - size // 2)


def changes(rng: random.Random, tree: Tree, folder: str, most: int) -> list[Change]:
    """Return up to ``most`` changes that can be made below ``folder``, in order; ``tree`` is changed with them."""
    found: list[Change] = []
    for _ in range(rng.randint(1, most)):
        leaves = [path for path, node in below(tree, folder).items() if node.kind != FOLDER]
        folders = [path for path, node in below(tree, folder).items() if node.kind == FOLDER and path != folder]
        path = (
            f"{folder}/{rng.randrange(6)}" if rng.random() < 0.5 else f"{folder}/d{rng.randrange(3)}/{rng.randrange(3)}"
        )
        kind = rng.choices(("put", "link", "delete", "move"), (6, 1, 2, 1))[0]
        if kind == "delete" and leaves:
            gone = rng.choice(folders) if folders and rng.random() < 0.3 else rng.choice(leaves)
            change: Change = {"op": "delete", "path": gone, "recursive": True}
        elif kind == "move" and any(leaf != path for leaf in leaves):
            source = rng.choice([leaf for leaf in leaves if leaf != path])
            change = {"op": "move", "source": {"path": source}, "destination": {"path": path}, "overwrite": True}
        elif kind == "link":
            change = {"op": "link", "path": path, "target": f"to {rng.random()}"}
        else:
            change = {"op": "put", "path": path, "content_base64": base64.b64encode(content(rng)).decode()}
        make(tree, change)
        found.append(change)
    return found
