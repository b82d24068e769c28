"""Decoders of classes are made when their module is imported.

The first look that msgspec takes at a class is not safe for threads: two at once can end the process with a
segmentation fault. Imports are done by one thread at a time.
"""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.architecture.test_imports import modules

MADE_WITH_ROUTES = {"functions.api.shaped"}
"""Makes them while a module of routes is imported, which the event loop does alone."""


def looks_at_a_class(node: ast.Call) -> bool:
    if not isinstance(node.func, ast.Attribute):
        return False
    name = node.func.attr
    return (name == "decode" and any(word.arg == "type" for word in node.keywords)) or name == "Decoder"


def test_no_decoder_is_made_while_a_program_runs() -> None:
    found = [
        f"{name}:{call.lineno}"
        for name, path in modules().items()
        if name not in MADE_WITH_ROUTES
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and looks_at_a_class(call)
    ]
    assert found == []


def test_what_makes_a_decoder_is_recognised() -> None:
    for source in ("msgspec.json.decode(data, type=Note)", "msgspec.msgpack.Decoder(Note)"):
        assert any(looks_at_a_class(node) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))


_MANY_READ_FIRST = """
import sys, threading
from manifold_common.domain.tree import Changes, directory
from manifold_common.format import commit_object
from manifold_common.format.places import Container
from manifold_common.format.sealed import Opener, ObjectKind, Sealer
from manifold_common.ids import PLAIN

def id_of(number):
    from manifold_common.ids import encode_id
    return encode_id(bytes([number]) * 16)

own = Container("default", id_of(1), ObjectKind.COMMIT, 1, id_of(2), id_of(3), PLAIN)
meta = commit_object.CommitMeta("default", id_of(1), 1, id_of(2), "", b"", "me", "", 0, "", {})
changes = Changes({b"": directory(0)}, set())
seal = own.seal()
data = commit_object.build_commit(meta, changes, {}, [], own, Sealer(seal, None), bytes(32)).data
sys.setswitchinterval(1e-6)
together = threading.Barrier(8)

def read():
    together.wait()
    commit_object.read_commit(data, own, Opener(seal, None), bytes(32))

threads = [threading.Thread(target=read) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@pytest.mark.parametrize("number", range(4))
def test_many_threads_may_read_the_first_commit_of_a_process_at_once(number: int) -> None:
    done = subprocess.run([sys.executable, "-c", _MANY_READ_FIRST], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
