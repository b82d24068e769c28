"""What work costs, counted where it arrives: at the S3 server and at Vault."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from manifold_common.bootstrap import Manifold, build
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.ids import SessionId

from tests.support.manifold import settings_for
from tests.support.s3_proxy import S3Proxy, running_proxy
from tests.support.stack import NewStack
from tests.support.work import S1, S2, check_out, new_project

S3 = SessionId("s3")
FILES = 2000
"""An object and a key for each would be this many requests to each server, for an import and for a cold checkout."""


class Servers:
    """The proxies in front of both."""

    def __init__(self, s3: S3Proxy, vault: S3Proxy) -> None:
        self._proxies = s3, vault

    def counted(self) -> tuple[dict[str, int], int]:
        """Return requests to S3 by method, and requests to Vault, since the last time."""
        s3, vault = (list(proxy.seen) for proxy in self._proxies)
        for proxy in self._proxies:
            proxy.seen.clear()
        return dict(Counter(seen.method for seen in s3)), len(vault)


@pytest.fixture
def stack(full_stack: NewStack, postgres_dsn: str) -> Iterator[tuple[Servers, dict[str, str]]]:
    settings = full_stack() | {"REDIS_ENABLED": "false", "KAFKA_ENABLED": "false", "DATABASE_URL": postgres_dsn}
    with running_proxy(settings["S3_ENDPOINT"]) as s3, running_proxy(settings["VAULT_ADDR"]) as vault:
        yield Servers(s3, vault), {**settings, "S3_ENDPOINT": s3.url, "VAULT_ADDR": vault.url}


def test_requests_depend_on_what_changed_and_never_on_the_number_of_files(
    stack: tuple[Servers, dict[str, str]], tmp_path: Path, ram_folder: Path
) -> None:
    servers, variables = stack

    def node(name: str) -> Manifold:
        (tmp_path / name).mkdir(exist_ok=True)
        settings = settings_for(tmp_path / name, ram_folder / name, **variables)
        return build(settings, variables["DATABASE_URL"])

    source = tmp_path / "source"
    for number in range(FILES):
        path = source / f"d{number % 40}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d line\n" % number * 100)

    with closing(node("a")) as here, closing(node("b")) as there:
        project = new_project(here)
        servers.counted()
        here.transfer.import_folder(LOCAL_PRINCIPAL, project, source)
        s3, vault = servers.counted()
        assert s3.keys() == {"PUT"} and s3["PUT"] <= 2
        assert vault <= 3, "the token, the key, one wrap"

        work = check_out(here, project)
        folder = check_out(there, project, S2)
        s3, vault = servers.counted()
        assert s3.keys() == {"GET"} and s3["GET"] <= 4, "two cold checkouts"
        assert vault <= 2, "the other node's token, and one unwrap"

        check_out(there, project, S3)
        check_out(there, session=S2)
        assert servers.counted() == ({}, 0), "a new session of a cached project, and a warm checkout"

        for number in range(10):
            (work / "d0" / f"f{number * 40}").write_bytes(b"changed %d" % number)
        assert here.commits.commit(LOCAL_PRINCIPAL, S1).generation == 2
        assert servers.counted() == ({"PUT": 1}, 0), "a commit"

    with closing(node("b")) as there:
        # A session belongs to a node's folder: with the same one, a new process goes on where the last one stopped.
        assert check_out(there, project, S3) != folder
        assert (check_out(there, project, S3) / "d0" / "f0").read_bytes() == b"changed 0"
        s3, vault = servers.counted()
        assert s3 == {"GET": 1}, "a refresh over one commit"
        assert vault <= 2
