from __future__ import annotations

import io
import os
import stat
import struct
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.ids import ProjectId

from tests.support.api import Api, MakeApi

ARCHIVE = "/api/v1/projects/demo/archive"


def tar_of(*members: tuple[str, bytes, dict[str, Any]], form: int = tarfile.PAX_FORMAT, gzipped: bool = True) -> bytes:
    """Return a tar of (name, content, attributes of its TarInfo)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz" if gzipped else "w", format=form) as archive:
        for name, content, attributes in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.mode = 0o644
            for key, value in attributes.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def zip_of(*members: tuple[str, bytes, int], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip of (name, content, Unix mode)."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content, mode in members:
            info = zipfile.ZipInfo(name, (2020, 2, 3, 4, 5, 6))
            info.create_system = 3
            info.external_attr = mode << 16
            info.compress_type = method
            archive.writestr(info, content)
    return out.getvalue()


def tree(api: Api, name: str = "demo") -> dict[str, dict[str, Any]]:
    items = api.get(f"/api/v1/projects/{name}/tree", params={"recursive": True, "limit": 1000}).json()["items"]
    return {item["path"]: item for item in items}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with everything that a project can hold."""
    folder = tmp_path / "source"
    (folder / "src" / "deep" / "er").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "src" / "main.py").write_text("print('hello')\n" * 50)
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "none").write_bytes(b"")
    (folder / "big.bin").write_bytes(os.urandom(5 << 20))
    (folder / ("n" * 200)).write_text("a long name")
    (folder / "link").symlink_to("src/main.py")
    (folder / "dangling").symlink_to("/no/where/at/all")
    (folder / "ümlaut \U0001f600.txt").write_text("text")
    (folder / "line\nbreak").write_text("x")
    Path(os.fsdecode(os.fsencode(folder) + b"/raw-\xff\xfe")).write_bytes(b"bytes")
    for number in range(300):
        (folder / "src" / f"f{number}.txt").write_text(f"file {number}\n")
    os.utime(folder / "run.sh", ns=(1, 1_234_567_890_123_456_789))
    os.utime(folder / "none", ns=(1, -5_000_000_001))
    os.utime(folder / "src" / "deep", ns=(1, 1_000_000_000_000_000_007))
    (folder / "src" / "deep").chmod(0o750)
    return folder


def load(api: Api, folder: Path) -> None:
    project = ProjectId(api.project())
    api.manifold.transfer.import_folder(LOCAL_PRINCIPAL, project, folder)


def same(first: Path, second: Path) -> bool:
    done = subprocess.run(["diff", "-r", "--no-dereference", first, second], capture_output=True, check=False)
    return done.stdout + done.stderr == b""


def facts(folder: Path, unit_ns: int) -> dict[str, tuple[int, int]]:
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        mode = 0 if stat.S_ISLNK(status.st_mode) else status.st_mode
        found[str(path.relative_to(folder))] = (mode, status.st_mtime_ns // unit_ns)
    return found


def test_gnu_tar_unpacks_an_exported_tar_to_the_same_tree(api: Api, source: Path, tmp_path: Path) -> None:
    load(api, source)
    answer = api.get(ARCHIVE)
    assert answer.headers["content-type"] == "application/gzip"
    assert answer.headers["content-disposition"].startswith('attachment; filename="demo-1.tar.gz"')
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["tar", "xzpf", "-", "-C", out], input=answer.content, check=True)
    assert same(source, out)
    assert facts(source, 1) == facts(out, 1)


def test_unzip_unpacks_an_exported_zip_to_the_same_tree(api: Api, source: Path, tmp_path: Path) -> None:
    (source / "none").touch()  # unzip cannot write times before 1970
    load(api, source)
    (tmp_path / "a.zip").write_bytes(api.get(ARCHIVE, params={"format": "zip"}).content)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.testzip() is None
        assert archive.read("run.sh") == b"#!/bin/sh\n"
        assert archive.getinfo("run.sh").external_attr >> 16 == 0o100755
        assert stat.S_ISLNK(archive.getinfo("link").external_attr >> 16)


@pytest.mark.parametrize(("form", "unit_ns"), [("tar.gz", 1), ("tar", 1), ("zip", 1_000_000_000)])
def test_an_exported_archive_comes_back_as_the_same_tree(api: Api, source: Path, form: str, unit_ns: int) -> None:
    load(api, source)
    archive = api.get(ARCHIVE, params={"format": form}).content
    api.project("copy")
    answer = api.post("/api/v1/projects/copy/archive", content=archive, params={"message": "copied"})
    assert answer.status_code == 201, answer.text
    before, after = tree(api), tree(api, "copy")
    assert answer.json()["entries"] == len(before)
    assert before.keys() == after.keys()
    for path, entry in before.items():
        other = after[path]
        differing = {"modified_at"} if unit_ns > 1 else set()
        assert {k: v for k, v in entry.items() if k not in differing} == {
            k: v for k, v in other.items() if k not in differing
        }, path
        assert entry["modified_at"][:19] == other["modified_at"][:19], path
    assert api.get("/api/v1/projects/copy/files/big.bin").content == (source / "big.bin").read_bytes()
    assert api.get("/api/v1/projects/copy/commits/1").json()["message"] == "copied"


def test_an_older_generation_can_be_exported(api: Api) -> None:
    api.project()
    api.put("/api/v1/projects/demo/files/a", content=b"old")
    api.put("/api/v1/projects/demo/files/a", content=b"new")
    with tarfile.open(fileobj=io.BytesIO(api.get(ARCHIVE, params={"generation": 1}).content)) as archive:
        member = archive.extractfile("a")
        assert member is not None and member.read() == b"old"


def test_an_empty_project_is_an_empty_archive(api: Api) -> None:
    api.project()
    with tarfile.open(fileobj=io.BytesIO(api.get(ARCHIVE).content)) as archive:
        assert archive.getnames() == []
    with zipfile.ZipFile(io.BytesIO(api.get(ARCHIVE, params={"format": "zip"}).content)) as zipped:
        assert zipped.namelist() == []


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("gzipped", [True, False])
def test_every_kind_of_tar_is_read(api: Api, form: int, gzipped: bool) -> None:
    long_name = "d" * 90 + "/" + "f" * 90
    members: list[tuple[str, bytes, dict[str, Any]]] = [
        ("./a.txt", b"hello", {"mtime": 1_600_000_000}),
        (long_name, b"x" * 1000, {}),
    ]
    if form != tarfile.USTAR_FORMAT:
        members.append(("e/" + "l" * 250, b"y", {}))
        members.append(("link", b"", {"type": tarfile.SYMTYPE, "linkname": "t" * 300}))
    api.project()
    answer = api.post(ARCHIVE, content=tar_of(*members, form=form, gzipped=gzipped))
    assert answer.status_code == 201, answer.text
    found = tree(api)
    assert found["a.txt"]["modified_at"] == "2020-09-13T12:26:40.000000000Z"
    assert found[long_name]["size"] == 1000
    if form != tarfile.USTAR_FORMAT:
        assert found["link"]["target"] == "t" * 300


def test_what_gnu_tar_makes_is_read(api: Api, source: Path) -> None:
    done = subprocess.run(["tar", "czf", "-", "--format=gnu", "-C", source, "."], capture_output=True, check=True)
    api.project()
    assert api.post(ARCHIVE, content=done.stdout).status_code == 201
    found = tree(api)
    assert found["run.sh"]["mode"] == "755"
    assert "raw-\\xff\\xfe" in found and found["raw-\\xff\\xfe"]["path_base64"]
    assert found["dangling"]["target"] == "/no/where/at/all"


def test_an_archive_adds_and_with_replace_also_removes(api: Api) -> None:
    api.project()
    for name in ("keep", "sub/keep", "sub/other"):
        api.put(f"/api/v1/projects/demo/files/{name}", content=b"old")
    archive = tar_of(("keep", b"new", {}))
    api.post(ARCHIVE, content=archive)
    assert tree(api).keys() == {"keep", "sub", "sub/keep", "sub/other"}
    api.post(ARCHIVE, content=archive, params={"folder": "sub", "replace": True})
    assert tree(api).keys() == {"keep", "sub", "sub/keep"}
    assert api.get("/api/v1/projects/demo/files/sub/keep").content == b"new"
    api.post(ARCHIVE, content=archive, params={"replace": True})
    assert tree(api).keys() == {"keep"}
    assert len(api.get("/api/v1/projects/demo/commits").json()["items"]) == 6


def test_an_archive_with_an_old_generation_changes_nothing(api: Api) -> None:
    api.project()
    api.put("/api/v1/projects/demo/files/a", content=b"x")
    answer = api.post(ARCHIVE, content=tar_of(("b", b"x", {})), headers={"If-Match": '"0"'})
    assert (answer.status_code, answer.json()["code"]) == (412, "generation_mismatch")


@pytest.mark.parametrize("headers", [{}, {"If-Match": '"1", "x"'}, {"If-Match": '"1"'}])
@pytest.mark.parametrize("form", ["tar", "tar.gz", "zip"])
def test_an_archive_that_is_sent_again_is_answered_as_before(api: Api, headers: dict[str, str], form: str) -> None:
    api.project()
    api.put("/api/v1/projects/demo/files/before", content=b"x")
    if form == "zip":
        archive = zip_of(("a", b"content", 0o104755), ("d/b", b"more", 0o100644))
    else:
        members: list[tuple[str, bytes, dict[str, Any]]] = [
            ("a", b"content", {"mode": 0o4755}),
            ("b", b"", {"type": tarfile.LNKTYPE, "linkname": "a"}),
            ("fifo", b"", {"type": tarfile.FIFOTYPE}),
        ]
        archive = tar_of(*members, gzipped=form == "tar.gz")
    named = {"Idempotency-Key": "archive-1", **headers}
    first, again = (api.post(f"{ARCHIVE}?folder=f", content=archive, headers=named) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201), again.text
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json() == first.json() and first.json()["entries"] == 2
    other = tar_of(("a", b"other", {}))
    for body in (other, b"no archive", archive[:-200]):
        refused = api.post(f"{ARCHIVE}?folder=f", content=body, headers=named)
        assert (refused.status_code, refused.json()["code"]) == (422, "request_name_reused")


def test_a_hard_link_is_a_copy_and_a_device_is_left_out_and_reported(api: Api) -> None:
    api.project()
    answer = api.post(
        ARCHIVE,
        content=tar_of(
            ("a", b"content", {}),
            ("b", b"", {"type": tarfile.LNKTYPE, "linkname": "./a"}),
            ("fifo", b"", {"type": tarfile.FIFOTYPE}),
            ("null", b"", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}),
        ),
    )
    assert [item["path"] for item in answer.json()["skipped"]] == ["fifo", "null"]
    assert tree(api).keys() == {"a", "b"}
    assert answer.json()["not_kept"] == [{"kind": "hard_links", "count": 1, "example": {"path": "b"}}]
    assert api.get("/api/v1/projects/demo/files/b").content == b"content"


def test_what_is_not_kept_of_an_archive_is_counted(api: Api) -> None:
    api.project()
    attributes = {"pax_headers": {"SCHILY.xattr.user.note": "x", "mtime": "99999999999"}}
    archive = tar_of(("a", b"x", {"mode": 0o6755}), ("b", b"x", {"mode": 0o4755}), ("c", b"x", attributes))
    assert api.post(ARCHIVE, content=archive).json()["not_kept"] == [
        {"kind": "special_bits", "count": 2, "example": {"path": "a"}},
        {"kind": "times", "count": 1, "example": {"path": "c"}},
        {"kind": "attributes", "count": 1, "example": {"path": "c"}},
    ]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        info = zipfile.ZipInfo("z")
        info.external_attr = 0o104755 << 16
        file.writestr(info, b"x")
    assert api.post(ARCHIVE, content=packed.getvalue()).json()["not_kept"] == [
        {"kind": "special_bits", "count": 1, "example": {"path": "z"}}
    ]


def test_a_time_beyond_all_numbers_is_a_clear_error(api: Api) -> None:
    api.project()
    answer = api.post(ARCHIVE, content=tar_of(("a", b"x", {"pax_headers": {"mtime": "1e999999"}})))
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
    assert "a time that is none" in answer.json()["detail"]


def test_permission_bits_beyond_rwx_do_not_come_in(api: Api) -> None:
    api.project()
    api.post(ARCHIVE, content=tar_of(("a", b"x", {"mode": 0o6755})))
    assert tree(api)["a"]["mode"] == "755"


def test_names_that_differ_in_case_stay_apart_and_the_last_of_two_equal_ones_in_a_tar_counts(api: Api) -> None:
    api.project()
    api.post(ARCHIVE, content=tar_of(("A", b"1", {}), ("a", b"2", {}), ("a", b"3", {})))
    assert tree(api).keys() == {"A", "a"}
    assert api.get("/api/v1/projects/demo/files/a").content == b"3"


# --- hostile archives -------------------------------------------------------------------------------------------

NAMES = ["../evil", "/etc/evil", "a/../../evil", "..", "a/./b", "//evil", "x" * 256, "a//b", "./../evil"]


def _refused(api: Api, archive: bytes, status: int, code: str) -> str:
    api.project()
    api.put("/api/v1/projects/demo/files/before", content=b"whole")
    store = api.manifold.context.store
    before = {info.key for info in store.list("")}
    answer = api.post(ARCHIVE, content=archive)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert tree(api).keys() == {"before"}
    assert api.get("/api/v1/projects/demo").json()["generation"] == 1
    assert {info.key for info in store.list("")} == before
    assert not list(Path(api.manifold.working_sets.folders.root).iterdir())
    return str(answer.json()["detail"])


@pytest.mark.parametrize("name", NAMES)
def test_a_tar_that_leaves_the_project_is_refused_whole(api: Api, name: str) -> None:
    _refused(api, tar_of(("good", b"x", {}), (name, b"x", {})), 400, "unsafe_path")


@pytest.mark.parametrize("name", [*NAMES, "nul\0byte"])
def test_a_zip_that_leaves_the_project_is_refused_whole(api: Api, name: str) -> None:
    member = name.replace("\0", "\1")
    archive = zip_of(("good", b"x", 0o100644), (member, b"x", 0o100644)).replace(b"nul\1byte", b"nul\0byte")
    _refused(api, archive, 400, "unsafe_path")


@pytest.mark.parametrize("target", ["../evil", "/etc/passwd", ".."])
def test_a_hard_link_that_leaves_the_project_is_refused(api: Api, target: str) -> None:
    _refused(api, tar_of(("a", b"", {"type": tarfile.LNKTYPE, "linkname": target})), 400, "unsafe_path")


def test_nothing_is_written_through_a_link_in_an_archive(api: Api) -> None:
    link = ("out", b"", {"type": tarfile.SYMTYPE, "linkname": "/tmp"})
    _refused(api, tar_of(link, ("out/evil", b"x", {})), 400, "invalid_input")


def _gzip_of_zeros(megabytes: int, head: bytes = b"") -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, 31)
    return (
        deflater.compress(head)
        + b"".join(deflater.compress(bytes(1 << 20)) for _ in range(megabytes))
        + deflater.flush()
    )


def _header(name: str, size: int, **attributes: Any) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    for key, value in attributes.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT)


def test_a_tar_that_expands_without_end_is_refused(api: Api) -> None:
    detail = _refused(api, _gzip_of_zeros(300, _header("bomb", 300 << 20)), 413, "quota_exceeded")
    assert "200 times" in detail


def test_a_zip_that_expands_without_end_is_refused_by_what_it_declares(api: Api) -> None:
    archive = zip_of(*((f"bomb{number}", bytes(10 << 20), 0o100644) for number in range(10)))
    detail = _refused(api, archive, 413, "quota_exceeded")
    assert "200 times" in detail


def test_a_zip_that_lies_about_its_sizes_is_refused(api: Api) -> None:
    archive = zip_of(("a", bytes(1 << 20), 0o100644))
    _refused(api, archive.replace(struct.pack("<L", 1 << 20), struct.pack("<L", 100)), 400, "invalid_input")


def test_an_archive_over_the_projects_quota_is_refused(make_api: MakeApi) -> None:
    api = make_api(PROJECTS_QUOTAS_MAX_PROJECT_BYTES="3000000")
    _refused(api, tar_of(("a", os.urandom(2_000_000), {}), ("b", os.urandom(2_000_000), {})), 413, "quota_exceeded")


def test_an_archive_with_a_file_over_its_quota_is_refused(make_api: MakeApi) -> None:
    api = make_api(PROJECTS_QUOTAS_MAX_FILE_BYTES="1000")
    _refused(api, tar_of(("a", b"x" * 1001, {})), 413, "quota_exceeded")


@pytest.mark.parametrize(
    "make", [tar_of, lambda *members: zip_of(*((name, data, 0o100644) for name, data, _ in members))]
)
def test_an_archive_with_too_many_entries_is_refused(make_api: MakeApi, make: Callable[..., bytes]) -> None:
    api = make_api(PROJECTS_QUOTAS_MAX_FILES="20")
    _refused(api, make(*((f"f{number}", b"", {}) for number in range(21))), 413, "quota_exceeded")


def test_a_zip_directory_that_claims_to_be_huge_is_not_read(api: Api) -> None:
    archive = zip_of(("a", b"x", 0o100644))
    end = archive.rfind(b"PK\5\6")
    lying = archive[: end + 10] + struct.pack("<HL", 0xFFFF - 1, 0xFFFFFFF0) + archive[end + 16 :]
    _refused(api, lying, 400, "invalid_input")


def test_a_pax_header_that_claims_to_be_huge_is_not_read(api: Api) -> None:
    _refused(api, _header("x", 8 << 30, type=b"x") + bytes(1 << 20), 400, "invalid_input")


def test_a_name_that_claims_to_be_huge_is_not_read(api: Api) -> None:
    _refused(api, _header("x", 8 << 30, type=b"L") + bytes(1 << 20), 400, "invalid_input")


def test_a_zip_with_a_name_twice_is_refused(api: Api) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        archive = zip_of(("a", b"1", 0o100644), ("a", b"2", 0o100644))
    _refused(api, archive, 400, "invalid_input")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_packed_in_another_way_is_refused(api: Api, method: int) -> None:
    _refused(api, zip_of(("a", b"x" * 100, 0o100644), method=method), 400, "invalid_input")


def test_an_encrypted_zip_is_refused(api: Api) -> None:
    archive = bytearray(zip_of(("a", b"x", 0o100644)))
    archive[archive.find(b"PK\1\2") + 8] |= 1
    archive[archive.find(b"PK\3\4") + 6] |= 1
    _refused(api, bytes(archive), 400, "invalid_input")


GOOD = tar_of(("a", os.urandom(2000), {}), ("b", b"y" * 3000, {}))
GOOD_ZIP = zip_of(("a", b"x" * 2000, 0o100644), ("b", b"y" * 3000, 0o100644))


GOOD_TAR = tar_of(("a", b"x" * 2000, {}), gzipped=False)[: 512 + 2048 + 512]


@pytest.mark.parametrize("archive", [GOOD, GOOD_ZIP, GOOD_TAR])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_an_archive_cut_short_is_refused(api: Api, archive: bytes, share: float) -> None:
    _refused(api, archive[: int(len(archive) * share)], 400, "invalid_input")


def test_a_damaged_archive_is_refused(api: Api) -> None:
    damaged = bytearray(GOOD_ZIP)
    damaged[36] ^= 0xFF  # in the first file's content
    _refused(api, bytes(damaged), 400, "invalid_input")


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"PK\3\4", b"\x1f\x8b", b"\x1f\x8b" + b"x" * 100, b"x" * 5000, b"PK\5\6"]
)
def test_what_is_no_archive_is_refused(api: Api, data: bytes) -> None:
    _refused(api, data, 400, "invalid_input")


def test_a_sparse_file_is_refused_rather_than_half_read(api: Api) -> None:
    archive = tar_of(("a", b"x", {"pax_headers": {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}}))
    _refused(api, archive, 400, "invalid_input")
