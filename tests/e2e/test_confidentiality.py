"""A canary is put everywhere where content and names go; then every byte outside RAM is searched for it."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import secrets
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import zstandard

from tests.support.cli import Program
from tests.support.host import MakeHost

pytestmark = pytest.mark.in_memory("searches the folders of simple mode")

WORD = f"canary{secrets.token_hex(12)}"
TEXT = f"secret{secrets.token_hex(24)}".encode()
NEEDLES = {"name": WORD.encode(), "content": TEXT}
LARGE = b"".join(TEXT + secrets.token_bytes(4000) for _ in range(700))
"""More than travels inside a commit object: it goes to a pack."""
_MOST_OUTPUT = 8 << 20


def spellings(needle: bytes) -> set[bytes]:
    """Return what a needle looks like in the encodings that programs put bytes into on their way."""
    found = {needle, needle[::-1], needle.hex().encode(), needle.hex().upper().encode()}
    found |= {needle.decode().encode("utf-16-le"), needle.decode().encode("utf-16-be")}
    for shift in range(3):
        coded = base64.b64encode(bytes(shift) + needle)
        inner = coded[4:-4]  # what surrounds the needle shares a character with its first and last byte
        found |= {inner, inner.translate(bytes.maketrans(b"+/", b"-_"))}
    return found


SPELLINGS = {name: spellings(needle) for name, needle in NEEDLES.items()}


def expansions(data: bytes) -> Iterator[bytes]:
    """Yield what compressed streams in ``data`` hold, as far as they can be read."""
    view, at = memoryview(data), -1
    while (at := data.find(zstandard.FRAME_HEADER, at + 1)) >= 0:
        try:
            yield zstandard.ZstdDecompressor().decompressobj().decompress(view[at:])
        except zstandard.ZstdError:
            continue
    for magic, bits in ((b"\x1f\x8b\x08", 31), (b"\x78\x9c", 15), (b"\x78\x01", 15), (b"\x78\xda", 15)):
        at = -1
        while (at := data.find(magic, at + 1)) >= 0:
            try:
                yield zlib.decompressobj(bits).decompress(view[at:], _MOST_OUTPUT)
            except zlib.error:
                continue


def sightings(data: bytes) -> set[str]:
    """Return which needles can be seen in ``data``."""
    return {
        name
        for piece in (data, *expansions(data))
        for name, forms in SPELLINGS.items()
        if any(form in piece for form in forms)
    }


def search(folders: list[Path]) -> dict[str, set[Path]]:
    """Return the files in which each needle was seen, in their content or their path."""
    seen: dict[str, set[Path]] = {name: set() for name in NEEDLES}
    known: dict[bytes, set[str]] = {}  # a new PostgreSQL is the same files several times over
    for path in (found for folder in folders for found in folder.rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        digest = hashlib.sha256(content).digest()
        if digest not in known:
            known[digest] = sightings(content)
        for name in sightings(bytes(str(path), "utf-8", "surrogateescape") + b"\n") | known[digest]:
            seen[name].add(path)
    return seen


@pytest.mark.parametrize("hide", [lambda data: data, zlib.compress, zstandard.ZstdCompressor().compress])
@pytest.mark.parametrize("spell", [bytes, bytes.hex, base64.b64encode])
def test_the_search_sees_a_needle_in_every_disguise(hide, spell) -> None:  # type: ignore[no-untyped-def]
    for name, needle in NEEDLES.items():
        for before in (b"", b"x", b"xy"):
            spelled = spell(before + needle + b"after")
            hidden = hide(spelled if isinstance(spelled, bytes) else spelled.encode())
            assert sightings(b"noise" + hidden + b"noise") == {name}
    assert sightings(secrets.token_bytes(100_000)) == set()


def work_with_canaries(make_host: MakeHost, folder: Path, ram: Path, **variables: str) -> tuple[Path, str]:
    """Do everything that a host and the command line do with content and names. Return (WORKDIR, what was logged)."""
    places = {name: str(folder / name.lower()) for name in ("HOME", "TMPDIR")}
    for place in places.values():
        Path(place).mkdir()
    variables |= {
        **places,
        "LOG_LEVEL": "debug",
        "PROJECTS_MAINTENANCE_CHECKPOINT_COMMITS": "1",
        "PROJECTS_MAINTENANCE_INTERVAL_SECONDS": "1",
        "PROJECTS_WORKSPACE_DRAFT_SECONDS": "1",
    }
    host = make_host(embedded=True, **variables)
    assert host.process.stderr is not None
    fcntl.fcntl(host.process.stderr, fcntl.F_SETPIPE_SZ, 1 << 20)  # all that is logged, which is read at the end
    source = ram / f"source-{WORD}"
    (source / f"folder {WORD}").mkdir(parents=True)
    (source / f"folder {WORD}" / "large").write_bytes(LARGE)
    (source / "small").write_bytes(TEXT)
    (source / "link").symlink_to(WORD)
    told = {"message": TEXT.decode(), "provenance": {"prompt": TEXT.decode(), WORD: 1}}
    with host.ready() as client:
        program = Program(folder, ram / "ram", None, {**variables, "WORKDIR": str(host.workdir)})
        program("import", "demo", source, "--create", "-m", f"import {WORD}")
        client.put(f"/api/v1/projects/demo/files/{WORD}.txt", content=TEXT, params={"message": WORD})
        client.get(f"/api/v1/projects/demo/files/{WORD}/below")
        client.post(
            "/api/v1/projects/demo/archive", content=client.get("/api/v1/projects/demo/archive?format=zip").content
        )
        opened = client.post("/api/v1/sessions", json={"project": "demo", "session": "s1"}).json()
        work = Path(opened["path"])
        (work / f"{WORD}-2").write_bytes(TEXT)
        assert client.post("/api/v1/sessions/s1/save").json()["draft"]
        assert client.post("/api/v1/sessions/s1/commit", json=told).json()["commit"]
        sparse = program.checkout("demo", "s2", "--path", f"/{WORD}.txt")
        (sparse / f"{WORD}.txt").write_bytes(TEXT + b" mine")
        client.put(f"/api/v1/projects/demo/files/{WORD}.txt", content=TEXT + b" theirs")
        assert program.error("commit", "s2", code=4)["details"]["paths"] == [f"{WORD}.txt"]
        program("commit", "s2", "--strategy", "ours")
        assert program("cat", "demo", f"{WORD}.txt").stdout == TEXT + b" mine"
        assert WORD in program.text("log", "demo")
        program("fork", "demo", "copy")
        program("verify", "demo", "--read-data")
        program("restore", "demo", "1")
        have_jobs_done(client)
        (work / f"{WORD}-3").write_bytes(TEXT)
        assert client.post("/api/v1/sessions/s1/save").json()["draft"]
        deadline = time.monotonic() + 30
        while not list(host.workdir.rglob("checkpoints/*")):
            assert time.monotonic() < deadline, "no checkpoint was written"
            time.sleep(0.05)
    code, out, err = host.stop()
    assert code == 0
    assert all(json.loads(line) for line in err.splitlines())
    return host.workdir, out + err


def have_jobs_done(client: httpx.Client) -> None:
    """Have jobs do what names and content go into, and what they answer is full of."""
    at, later = "/api/v1/projects/demo", {"Prefer": "respond-async"}
    archive = client.get(f"{at}/archive?format=tar").content
    refused = {**later, "If-Match": client.get(at).headers["etag"]}
    begun = [
        client.post(f"{at}/archive", params={"folder": WORD, "message": WORD}, content=archive, headers=later),
        client.post(f"{at}/restore", json={"generation": 1, "message": TEXT.decode()}, headers=later),
        client.post(f"{at}/restore", json={"generation": 2, "paths": [{"path": f"{WORD}.txt"}]}, headers=refused),
        client.get(f"{at}/archive?format=tar", headers=later),
    ]
    for answer in begun:
        assert answer.status_code == 202, answer.text
        deadline = time.monotonic() + 60
        while client.get(f"{answer.headers['location']}?wait=5").json()["state"] not in ("done", "failed"):
            assert time.monotonic() < deadline, "nobody works on jobs"
    assert WORD in client.get(f"{begun[0].headers['location']}/result").text
    assert WORD.encode() in client.get(f"{begun[-1].headers['location']}/content").content


def test_no_content_and_no_name_leaves_ram_when_projects_are_encrypted(
    make_host: MakeHost, tmp_path: Path, ram_folder: Path
) -> None:
    workdir, logged = work_with_canaries(make_host, tmp_path, ram_folder)
    assert sightings(logged.encode()) == set()
    files = [path.relative_to(workdir) for path in workdir.rglob("*") if path.is_file()]
    for part in ("packs", "commits", "checkpoints", "keys", "pg_wal", "base"):
        assert any(part in path.parts for path in files), f"nothing of {part} was searched"
    assert search([tmp_path]) == {"name": set(), "content": set()}


def test_the_same_search_finds_both_when_they_are_not(make_host: MakeHost, tmp_path: Path, ram_folder: Path) -> None:
    workdir, _ = work_with_canaries(make_host, tmp_path, ram_folder, PROJECTS_ENCRYPT="false")
    seen = search([tmp_path])
    kinds = {
        name: {part for path in paths for part in path.relative_to(tmp_path).parts} for name, paths in seen.items()
    }
    assert workdir.name in kinds["name"]
    assert {"packs", "commits"} <= kinds["content"]
    assert {"commits", "checkpoints"} <= kinds["name"]
