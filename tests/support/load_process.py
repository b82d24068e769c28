"""A node under load in a process of its own, which can be killed. What its clients are told arrives as it happens."""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass
from multiprocessing.connection import Connection

from manifold_common.ids import ProjectId

from tests.support.contender import CONTEXT
from tests.support.enterprise import Node
from tests.support.load import Floor, Load, Mix, Record, Tell


@dataclass(frozen=True)
class Order:
    node: Node
    project: ProjectId
    name: str
    mix: Mix
    seed: int
    passing: Collection[str]


def _work(order: Order, told: Connection) -> None:
    manifold = order.node.build()
    lock = threading.Lock()

    def tell(record: Record) -> None:
        with lock:
            told.send(record)

    load = Load(
        manifold,
        order.project,
        order.name,
        order.mix,
        seed=order.seed,
        passing=order.passing,
        tell=tell,
        floor=Floor(),
    )
    load.start()
    load.stop.wait()  # it ends by an error, or never
    load.end(0)


class LoadProcess:
    """Args: ``tell``: is given each record, in a thread."""

    def __init__(self, order: Order, tell: Tell) -> None:
        self._here, there = CONTEXT.Pipe(duplex=False)
        self._process = CONTEXT.Process(target=_work, args=(order, there))
        self._process.start()
        there.close()
        self._thread = threading.Thread(target=self._listen, args=(tell,), daemon=True)
        self._thread.start()

    def kill(self) -> None:
        """End it at once. All that it has said has then been told."""
        was_alive = self._process.is_alive()
        self._process.kill()
        self._process.join()
        self._thread.join()
        self._here.close()
        self._process.close()
        assert was_alive, "it had ended by itself; its error is on stderr"

    def _listen(self, tell: Tell) -> None:
        try:
            while True:
                tell(self._here.recv())
        except (EOFError, OSError):  # nothing more, or half a record
            return
