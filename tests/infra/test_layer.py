"""What an artifact holds: everything that is imported, and nothing else of ours."""

from __future__ import annotations

import marshal
import py_compile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import CodeType

import pytest
from manifold_local.packaging import artifacts, sizes
from manifold_local.packaging.artifacts import SHARED, build_function, compile_modules
from manifold_local.packaging.target import Target, this_machine
from manifold_local.packaging.trim import LEFT_OUT, trim
from manifold_local.packaging.wheels import normal, pinned

from tests.support.imports import COMMON, all_arrows, modules, reachable

PACKAGE = COMMON / "manifold_common"
ENTRIES = [name for name in modules() if name.startswith("functions.") and name.split(".")[1] not in SHARED]


@pytest.fixture(scope="module")
def reached() -> set[str]:
    return reachable(ENTRIES)


def _left_out(name: str) -> bool:
    path = modules()[name].relative_to(PACKAGE)
    return any(path.is_relative_to(one) for one in LEFT_OUT)


COMMON_MODULES = [name for name in modules() if name.split(".")[0] == "manifold_common"]


def test_every_module_of_the_layer_is_reached_from_a_function(reached: set[str]) -> None:
    assert [name for name in COMMON_MODULES if not _left_out(name) and name not in reached] == []


def test_no_module_that_is_left_out_is_reached_from_a_function(reached: set[str]) -> None:
    assert [name for name in COMMON_MODULES if _left_out(name) and name in reached] == []
    assert len([name for name in COMMON_MODULES if _left_out(name)]) > 5


def test_functions_import_nothing_of_one_another() -> None:
    crossing = [
        str(arrow)
        for arrow in all_arrows()
        if arrow.source.startswith("functions.")
        and arrow.target.startswith("functions.")
        and arrow.target.split(".")[1] not in (*SHARED, arrow.source.split(".")[1])
    ]
    assert crossing == [], "their artifacts lack each other's modules"


def test_data_files_of_the_layer_are_those_that_modules_read() -> None:
    found = {path.suffix for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert found == {".py", ".sql"}


def test_bytecode_is_taken_whatever_the_times_of_files_and_names_where_they_will_lie(tmp_path: Path) -> None:
    module = tmp_path / "package" / "module.py"
    module.parent.mkdir()
    module.write_text("def f():\n    return 1\n")
    assert compile_modules(tmp_path, this_machine(), "/opt/python")
    (compiled,) = (tmp_path / "package" / "__pycache__").iterdir()
    data = compiled.read_bytes()
    assert int.from_bytes(data[4:8], "little") == 0b01, "checked by hash: no; by time: no"
    code = marshal.loads(data[16:])
    assert isinstance(code, CodeType) and code.co_filename == "/opt/python/package/module.py"


def test_without_a_python_of_the_targets_version_one_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not compile_modules(tmp_path, Target("3.99", "x86_64"), "/opt/python")
    assert "no python3.99 is on the PATH" in capsys.readouterr().err


def test_wheels_are_for_lambdas_system_and_never_built() -> None:
    new, old = Target("3.13", "arm64").pip_options(), Target("3.11", "x86_64").pip_options()
    for options in (new, old, this_machine().pip_options()):
        assert "--only-binary=:all:" in options
    assert {"--python-version=3.13", "--platform=manylinux_2_34_aarch64"} <= set(new)
    assert {f"--platform=manylinux_2_{glibc}_aarch64" for glibc in range(17, 35)} <= set(new), "pip infers no older one"
    assert "--platform=manylinux_2_26_x86_64" in old
    assert not [option for option in old if "2_28" in option], "Python 3.11 runs on Amazon Linux 2, whose glibc is 2.26"


def test_every_entry_of_the_lock_has_hashes_and_none_its_marker() -> None:
    entries = pinned()
    assert len(entries) > 50
    for name, entry in entries.items():
        assert name == normal(entry.split("==")[0])
        assert " --hash=sha256:" in entry and ";" not in entry


def test_trimming_keeps_what_runs_and_its_licence(tmp_path: Path) -> None:
    kept = ["a/__init__.py", "a/core.so", "a-1.dist-info/METADATA", "a-1.dist-info/licenses/LICENSE"]
    kept += ["botocore/data/kms/2014/service-2.json.gz", "botocore/data/endpoints.json"]
    dropped = ["a/tests/test_a.py", "a/core.pyx", "a/core.pyi", "bin/a", "botocore/data/ec2/2016/service-2.json.gz"]
    for name in kept + dropped:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    trim(tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)


def test_an_artifact_that_lambda_would_refuse_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CommonLayer/python/a/x.py", "ApiFunction/functions/api/handler.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"x" * 600)
    assert sizes.report(tmp_path) == []
    monkeypatch.setattr(sizes, "UNPACKED_LIMIT_BYTES", 1000)
    (one,) = sizes.report(tmp_path)
    assert one.startswith("ApiFunction and its layers")
    monkeypatch.setattr(sizes, "LAYER_BUDGET_BYTES", 500)
    assert len(sizes.report(tmp_path)) == 2


def test_a_function_that_is_not_there_is_refused_with_the_names_of_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no function 'nosuch'"):
        build_function("nosuch", tmp_path, this_machine())
    assert set(SHARED) & set(artifacts.function_names()) == set()


def test_builds_that_run_at_once_fetch_packages_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[Path] = []

    def install(_names: Iterable[str], folder: Path, _target: Target) -> None:
        fetched.append(folder)
        time.sleep(0.2)
        folder.mkdir()

    monkeypatch.setattr(artifacts, "PACKAGES", tmp_path)
    monkeypatch.setattr(artifacts, "needed", lambda _requirements, _target: {"a"})
    monkeypatch.setattr(artifacts, "install", install)
    with ThreadPoolExecutor() as pool:
        made = list(pool.map(lambda _: artifacts.third_party([COMMON], [], this_machine(), "/opt"), range(3)))
    assert len(fetched) == len(set(made)) == 1 and made[0].is_dir()


def test_bytecode_beside_the_source_stays_out(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.py").write_text("x = 1\n")
    py_compile.compile(str(source / "a.py"))
    artifacts._copy(source, tmp_path / "copy")
    assert [path.name for path in (tmp_path / "copy").rglob("*")] == ["a.py"]
