"""A panic of a native library is a failure like others, wherever one could stop a thread or a server."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError

import pytest
from manifold_common.adapters.s3.native import S3Client, S3Failure
from manifold_common.domain.panic import is_panic, panics_as_errors
from manifold_common.errors import InternalError
from manifold_common.ports.aws_account import AwsKeys
from manifold_local.cli import run as cli
from manifold_local.host.scheduler import Scheduler, Task

from tests.support.panics import SECRET, panic

OPTIONS = {"config": {"endpoint": "http://127.0.0.1:1", "region": "r"}, "client_options": {"allow_http": True}}


def test_a_panic_is_no_exception_and_is_known_as_one() -> None:
    with pytest.raises(BaseException) as caught:
        panic()
    assert not isinstance(caught.value, Exception)
    assert is_panic(caught.value)


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError, CancelledError])
def test_what_tells_a_process_or_a_task_to_end_is_no_panic(end: type[BaseException]) -> None:
    with pytest.raises(end), panics_as_errors():
        raise end


def test_a_panic_becomes_an_error_without_its_words() -> None:
    with pytest.raises(InternalError) as caught, panics_as_errors():
        panic()
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "request_of",
    [
        lambda client: client.put("k", b""),
        lambda client: client.get("k"),
        lambda client: client.get_ranges("k", [0], [1]),
        lambda client: client.head("k"),
        lambda client: list(client.pages(None, 10)),
        lambda client: client.delete(["k"]),
    ],
    ids=["put", "get", "get_ranges", "head", "pages", "delete"],
)
def test_no_panic_leaves_the_s3_client(request_of: object) -> None:
    client = S3Client("bucket", OPTIONS, lambda: AwsKeys("key", "secret", SECRET + "\n"), lasting=True)
    with pytest.raises(S3Failure, match="panic") as caught:
        request_of(client)  # type: ignore[operator]
    assert SECRET not in str(caught.value) + repr(caught.value.failure)
    assert not caught.value.failure.passing


def test_options_that_break_the_library_are_a_failure() -> None:
    with pytest.raises(S3Failure):
        S3Client("bucket", {"config": {"endpoint": "\0", "no such": 1}}, lambda: AwsKeys("k", "s"), lasting=True)


def test_ctrl_c_while_credentials_are_looked_up_is_not_swallowed() -> None:
    def interrupted() -> AwsKeys:
        raise KeyboardInterrupt

    client = S3Client("bucket", OPTIONS, interrupted, lasting=False)
    with pytest.raises(KeyboardInterrupt):
        client.get("k")


def test_the_scheduler_outlives_a_task_that_panics() -> None:
    worked = threading.Semaphore(0)
    scheduler = Scheduler([Task("bad", 0.001, lambda _: panic()), Task("good", 0.001, lambda _: worked.release())])
    scheduler.start()
    assert all(worked.acquire(timeout=10) for _ in range(5))
    assert scheduler.stop(10)


def test_a_command_that_panics_is_an_error_with_a_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli.typer.main, "get_command", panic)
    assert cli.run(["projects", "list"]) not in (0, 130)
    assert SECRET not in capsys.readouterr().err
