"""The part of the stand-in that runs functions, with functions of a few lines.

Each row of docs/functions-local.md about containers that says "the same" is a test here.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from manifold_local.functions_stack.ministack import remove
from manifold_local.functions_stack.runtime_client import copy_runtime_client
from manifold_local.lambda_service import container, runtime_api
from manifold_local.lambda_service.container import Outcome
from manifold_local.lambda_service.pool import Function, Places, Pool
from manifold_local.lambda_service.runtime_api import Invocation
from manifold_local.lambda_service.service import http_answer, numbered, refused_call

from tests.support.privileges import bound_by_permissions
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
CODE = """
    import os, sys, threading, time
    import layered
    starts = time.time()
    ticks = [0]

    def tick():
        while True:
            ticks[0] += 1
            time.sleep(0.005)

    class not_found(Exception):
        pass

    def handler(event, context):
        what = event.get("do")
        if what == "raise":
            raise not_found("no such thing")
        if what == "sleep":
            time.sleep(event["seconds"])
        if what == "exit":
            os._exit(3)
        if what == "tick":
            threading.Thread(target=tick, daemon=True).start()
        if what == "print":
            print("said by", event["name"])
            os.system("echo by a child")
        if what == "long":
            return "x" * event["size"]
        return {"pid": os.getpid(), "start": starts, "ticks": ticks[0], "layer": layered.__file__, "file": __file__,
            "environ": dict(os.environ), "path": sys.path, "cwd": os.getcwd(), "id": context.aws_request_id,
            "left": context.get_remaining_time_in_millis(), "arn": context.invoked_function_arn,
            "name": context.function_name, "memory": context.memory_limit_in_mb, "version": context.function_version,
            "group": context.log_group_name, "event": event}
"""


def packed(**files: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as package:
        for name, text in files.items():
            package.writestr(zipfile.ZipInfo(name.replace("__", "/") + ".py"), textwrap.dedent(text))
    return made.getvalue()


Invoke = Callable[..., Outcome]


@pytest.fixture
def places(tmp_path: Path) -> Places:
    folders = {name: tmp_path / name for name in ("runtime", "code", "disk", "ram")}
    for folder in folders.values():
        folder.mkdir()
    copy_runtime_client(folders["runtime"])
    return Places(python=Path(sys.executable), endpoint="http://127.0.0.1:1", **folders)


@pytest.fixture
def invoke(places: Places) -> Iterator[Invoke]:
    pool = Pool(places)

    def invoke(event: Any = None, *, code: str = CODE, **config: Any) -> Outcome:
        facts = {"FunctionName": "probe", "Handler": "probe.handler", "Timeout": 20, "MemorySize": 512, **config}
        layers = {"layer:1": lambda: packed(python__layered="")}
        package = packed(probe=code)
        function = Function({"CodeSha256": code, **facts}, package, layers, "eu-central-1", {})
        payload = json.dumps({} if event is None else event).encode()
        identity = f"request-{time.monotonic_ns()}"
        deadline = time.time() + function.timeout_seconds
        return pool.invoke(function, Invocation(identity, payload, "arn:probe:alias", deadline))

    yield invoke
    pool.close()


def test_an_error_bears_the_name_of_its_class_and_leaves_the_container_alone(invoke: Invoke) -> None:
    first = invoke().body
    failed = invoke({"do": "raise"})
    assert failed.is_error
    assert (failed.body["errorType"], failed.body["errorMessage"]) == ("not_found", "no such thing")
    assert failed.body["stackTrace"] and failed.body["requestId"]
    assert (invoke().body["pid"], invoke().body["start"]) == (first["pid"], first["start"])


def test_a_container_does_one_thing_at_a_time_and_others_are_started_beside_it(invoke: Invoke) -> None:
    with ThreadPoolExecutor(3) as threads:
        done = list(threads.map(invoke, [{"do": "sleep", "seconds": 0.3}] * 3))
    assert len({outcome.body["pid"] for outcome in done}) == 3
    assert invoke().body["pid"] in {outcome.body["pid"] for outcome in done}


def test_between_invocations_a_container_stands_still(invoke: Invoke) -> None:
    pid = invoke({"do": "tick"}).body["pid"]
    wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, 5)
    before = invoke().body["ticks"]
    time.sleep(0.3)
    assert invoke().body["ticks"] - before < 20
    assert before > 0


def test_a_function_is_ended_when_its_time_is_over_and_the_next_call_starts_anew(invoke: Invoke) -> None:
    pid = invoke(Timeout=1).body["pid"]
    begun = time.monotonic()
    late = invoke({"do": "sleep", "seconds": 30}, Timeout=1)
    assert time.monotonic() - begun < 5
    assert late.body["errorType"] == "Sandbox.Timedout"
    assert late.body["errorMessage"].endswith("Task timed out after 1.00 seconds")
    assert not psutil.pid_exists(pid)
    assert invoke(Timeout=1).body["pid"] != pid


@pytest.mark.parametrize(
    ("free_seconds", "start_seconds", "timeout_seconds", "error"),
    [(10, 1.2, 2, None), (0.1, 10, 1, "Sandbox.Timedout")],
)
def test_a_start_takes_the_functions_own_time_only_when_it_is_slow(
    invoke: Invoke,
    monkeypatch: pytest.MonkeyPatch,
    free_seconds: float,
    start_seconds: float,
    timeout_seconds: int,
    error: str | None,
) -> None:
    monkeypatch.setattr(container, "INIT_SECONDS", free_seconds)
    slow = f"    import time\n    time.sleep({start_seconds})\n" + CODE
    done = invoke({"do": "sleep", "seconds": 0.9}, code=slow, Timeout=timeout_seconds)
    assert done.body.get("errorType") == error


def test_a_container_that_ends_itself_fails_its_invocation_only(invoke: Invoke) -> None:
    ended = invoke({"do": "exit"}).body
    assert (ended["errorType"], ended["errorMessage"].rpartition(": ")[2]) == ("Runtime.ExitError", "exit status 3")
    assert invoke().body["name"] == "probe"


def test_a_function_that_cannot_be_loaded_says_why(invoke: Invoke) -> None:
    failed = invoke(code="import nothing_of_that_name")
    assert failed.body["errorType"] == "Runtime.ImportModuleError"
    assert "nothing_of_that_name" in failed.body["errorMessage"]


def test_an_answer_is_passed_on_up_to_lambdas_limit(invoke: Invoke) -> None:
    assert len(invoke({"do": "long", "size": runtime_api.MAX_ANSWER_BYTES - 2}).body) == 6_291_554
    failed = invoke({"do": "long", "size": runtime_api.MAX_ANSWER_BYTES - 1})
    assert failed.body == {
        "errorType": "Function.ResponseSizeTooLarge",
        "errorMessage": "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
    }


def test_all_containers_share_code_that_is_unpacked_once_and_have_folders_of_their_own(
    invoke: Invoke, places: Places
) -> None:
    with ThreadPoolExecutor(3) as threads:
        found = [one.body for one in threads.map(invoke, [{"do": "sleep", "seconds": 0.2}] * 3)]
    assert len(list(places.code.iterdir())) == 2, "the function's code and the layer's"
    assert len({(one["file"], one["layer"]) for one in found}) == 1
    assert not list(places.code.rglob("*.pyc"))
    assert not [path for path in places.code.rglob("*") if path.stat().st_mode & 0o222]
    for name in ("TMPDIR", "WORKDIR", "PROJECTS_WORKSPACE_TMPFS_DIR"):
        assert len({one["environ"][name] for one in found}) == 3, name


def test_an_ordinary_user_can_run_and_remove_what_cannot_be_written_to(invoke: Invoke, places: Places) -> None:
    with bound_by_permissions():
        assert not invoke().is_error
        (code, layer) = places.code.iterdir()
        for folder in (code, layer):
            with pytest.raises(PermissionError):
                (folder / "new").touch()
        remove(places.code)
    assert not places.code.exists()


def test_what_is_said_of_function_and_invocation(invoke: Invoke) -> None:
    given = {"Variables": {"LOG_LEVEL": "debug", "AWS_LAMBDA_FUNCTION_NAME": "other"}}
    logging = {"LogGroup": "/aws/lambda/probe", "LogFormat": "JSON", "ApplicationLogLevel": "WARN"}
    body = invoke({"a": [None, 1.5, "ü"]}, Environment=given, LoggingConfig=logging).body
    environ = body["environ"]
    wanted = {
        "AWS_LAMBDA_FUNCTION_NAME": "probe",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/probe",
        "AWS_LAMBDA_LOG_FORMAT": "JSON",
        "AWS_LAMBDA_LOG_LEVEL": "WARN",
        "AWS_EXECUTION_ENV": f"AWS_Lambda_python3.{sys.version_info.minor}",
        "AWS_REGION": "eu-central-1",
        "_HANDLER": "probe.handler",
        "LOG_LEVEL": "debug",
    }
    assert {name: environ.get(name) for name in wanted} == wanted
    assert environ["LAMBDA_TASK_ROOT"] == body["cwd"] == str(Path(body["file"]).parent)
    assert body["path"].index(body["cwd"]) < body["path"].index(str(Path(body["layer"]).parent))
    assert not {"HOME", "PATH"} - environ.keys()
    assert "MANIFOLD_CONTAINER_PARENT" not in environ
    assert (body["name"], body["memory"], body["version"]) == ("probe", "512", "$LATEST")
    assert (body["arn"], body["group"]) == ("arn:probe:alias", "/aws/lambda/probe")
    assert body["id"].startswith("request-") and 15_000 < body["left"] <= 20_000
    assert body["event"] == {"a": [None, 1.5, "ü"]}


def test_what_a_function_prints_belongs_to_the_invocation(invoke: Invoke) -> None:
    for name in ("one", "two"):
        log = invoke({"do": "print", "name": name}).log
        assert (f"said by {name}" in log, "by a child" in log, log.count("said by")) == (True, True, 1)


def test_a_new_version_of_a_function_ends_the_containers_of_the_old_one(invoke: Invoke) -> None:
    old = invoke().body["pid"]
    new = invoke(Environment={"Variables": {"A": "b"}}).body
    assert (new["pid"] != old, new["environ"]["A"], psutil.pid_exists(old)) == (True, "b", False)


_DYING = """
import json, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from manifold_local.lambda_service.pool import Function, Places, Pool
from manifold_local.lambda_service.runtime_api import Invocation
places = {name: Path(value) for name, value in json.loads(sys.argv[2]).items()}
function = Function({"FunctionName": "f", "Handler": "f.handler"}, bytes.fromhex(sys.argv[3]), {}, "r", {})
done = Pool(Places(endpoint="", **places)).invoke(function, Invocation("1", b"{}", "", time.time() + 20))
print(json.dumps(done.body), flush=True)
time.sleep(60)
"""


def test_containers_end_with_the_stand_in_however_that_ends(places: Places) -> None:
    package = packed(f="import os\n\ndef handler(event, context):\n    return os.getpid()\n")
    folders = {name: str(getattr(places, name)) for name in ("python", "runtime", "code", "disk", "ram")}
    command = [sys.executable, "-c", _DYING, str(ROOT / "local"), json.dumps(folders), package.hex()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, 5)


@pytest.mark.parametrize(
    ("kind", "limit"), [("RequestResponse", 6_291_456), ("Event", 1_048_576), ("DryRun", 6_291_456)]
)
def test_an_event_is_taken_up_to_lambdas_limit(kind: str, limit: int) -> None:
    body = b'"' + b"x" * (limit - 2) + b'"'
    assert refused_call({"x-amz-invocation-type": kind}, body) is None
    refused = refused_call({"x-amz-invocation-type": kind}, body + b" ")
    assert refused is not None and refused[0] == 413
    assert f"{limit + 1} byte payload is too large for the {kind} invocation type (limit {limit}" in refused[2].decode()


def test_what_an_http_api_answers() -> None:
    assert http_answer({"body": {"statusCode": 204}})[0] == {"statusCode": 204}
    assert http_answer({"body": "text"})[0]["body"] == "text"
    for result, status, text in (
        ({"error": True, "body": {"errorType": "x"}}, 500, "Internal Server Error"),
        ({"throttle": True, "error": True}, 503, "Service Unavailable"),
        ({"error": True, "status": 413}, 413, "Request Entity Too Large"),
    ):
        answer = http_answer(result)[0]
        assert (answer["statusCode"], json.loads(answer["body"])) == (status, {"message": text})


@pytest.mark.parametrize(("source", "limit"), [({"ScalingConfig": {"MaximumConcurrency": "3"}}, 3), ({}, None)])
def test_how_many_batches_run_at_once_may_be_said_by_a_parameter(source: dict[str, Any], limit: int | None) -> None:
    asked = numbered(lambda found, _: found["ScalingConfig"].get("MaximumConcurrency"))
    assert asked(source, {}) == limit
