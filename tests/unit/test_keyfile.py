"""The keystore directory: who may read it, who made it, and what it is never mistaken for."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pickle
import stat
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from manifold_common.adapters.keyfile.key_file import DamagedKeyFile, MasterKey, decode_key_file, encode_key_file
from manifold_common.adapters.keyfile.keystore import LOCK_SECONDS, Keystore
from manifold_common.adapters.keyfile.provider import FileKeyProvider
from manifold_common.adapters.memory.clock import ManualClock, SeededRandomness
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.domain.keys import KeyContext
from manifold_common.errors import ConfigError, KeyUnavailable
from manifold_common.ids import DekId, ProjectId, TenantId

from tests.support.privileges import ignores_permissions

MATERIAL = bytes(range(64))
CONTEXT = KeyContext(TenantId("acme"), ProjectId("p" * 26), DekId("d" * 26))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "work/.keystore"


@pytest.fixture
def provider(folder: Path) -> FileKeyProvider:
    return open_provider(folder)


def open_provider(folder: Path, key_name: str = "default") -> FileKeyProvider:
    return FileKeyProvider(folder, key_name=key_name, clock=SystemClock(), randomness=SystemRandomness())


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.key") if path.is_file()}


# --- files ------------------------------------------------------------------------------------------------------------


def test_the_key_file_has_the_documented_bytes() -> None:
    key = MasterKey("kek", 3, ManualClock().now(), bytearray(range(32)))
    data = encode_key_file(key)
    assert data.hex() == (
        "4d414e49464b454b01036b656b00000003000000006955b900" + bytes(range(32)).hex() + data[-32:].hex()
    )
    assert data[-32:].hex() == "ebb1bf414071866533f5530075071c281fe0c79ad20b685ab047d362be978fe4"
    opened = decode_key_file(data, "kek", 3)
    assert (opened.name, opened.version, opened.created_at, opened.material) == (
        "kek",
        3,
        key.created_at,
        bytearray(range(32)),
    )


def test_any_damage_to_a_key_file_is_noticed() -> None:
    whole = encode_key_file(MasterKey("kek", 1, ManualClock().now(), bytearray(range(32))))
    for index in range(len(whole)):
        changed = bytearray(whole)
        changed[index] ^= 0x10
        with pytest.raises(DamagedKeyFile):
            decode_key_file(changed, "kek", 1)
        with pytest.raises(DamagedKeyFile):
            decode_key_file(whole[:index], "kek", 1)
    with pytest.raises(DamagedKeyFile):
        decode_key_file(whole + b"\0", "kek", 1)


def test_a_record_can_be_opened_by_its_document_alone(provider: FileKeyProvider, folder: Path) -> None:
    record = provider.wrap(MATERIAL, CONTEXT)
    key = (folder / "default/1.key").read_bytes()[10 + len("default") + 12 :][:32]
    data = record.ciphertext
    assert data[0] == 1
    assert data[1:9] == hashlib.sha256(b"manifold master key fingerprint\0" + key).digest()[:8]
    fields = [b"manifold wrapped key 1", b"file", b"default", b"1", b"acme", b"p" * 26, b"d" * 26]
    binding = b"".join(struct.pack(">I", len(field)) + field for field in fields)
    assert AESGCM(key).decrypt(data[9:21], data[21:-4], binding) == MATERIAL
    assert data[-4:] == struct.pack(">I", zlib.crc32(b"file\0default\x001\0" + data[:-4]))


def test_files_and_folders_are_the_owners_alone_whatever_the_umask(folder: Path) -> None:
    before = os.umask(0)
    try:
        open_provider(folder).wrap(MATERIAL, CONTEXT)
    finally:
        os.umask(before)
    for path in [folder, *folder.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_nothing_but_keys_and_the_lock_is_left_in_the_keystore(provider: FileKeyProvider, folder: Path) -> None:
    provider.wrap(MATERIAL, CONTEXT)
    provider.rotate()
    open_provider(folder, "other").wrap(MATERIAL, CONTEXT)
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == {"default/1.key", "default/2.key", "other/1.key", "~lock"}


def test_a_leftover_of_a_maker_that_died_is_removed(provider: FileKeyProvider, folder: Path) -> None:
    (folder / "default").mkdir(parents=True, mode=0o700)
    leftover = folder / "default/~new-dead"
    leftover.write_bytes(b"half a key")
    wrapped = provider.wrap(MATERIAL, CONTEXT)
    assert wrapped.key_version == 1
    assert not leftover.exists()


def test_file_and_folders_are_synced_before_a_key_is_used(
    provider: FileKeyProvider, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    effects: list[str] = []
    real_sync, real_link = os.fsync, os.link

    def fsync(fd: int) -> None:
        path = os.readlink(f"/proc/self/fd/{fd}")
        effects.append("sync file" if "~new-" in path else "sync " + os.path.relpath(path, folder.parent))
        real_sync(fd)

    def link(*args: object, **kwargs: object) -> None:
        effects.append("link")
        real_link(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)
    provider.wrap(MATERIAL, CONTEXT)
    made = effects.index("link")
    assert {"sync .", "sync .keystore"} <= set(effects[:made])
    assert effects[made - 1] == "sync file"
    assert effects[made + 1] == "sync .keystore/default"


def test_a_key_that_another_process_has_just_made_is_settled_before_use(
    provider: FileKeyProvider, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.wrap(MATERIAL, CONTEXT)
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    newcomer = open_provider(folder)
    newcomer.wrap(MATERIAL, CONTEXT)
    assert synced == [str(folder / "default")]
    newcomer.wrap(MATERIAL, CONTEXT)
    assert len(synced) == 1


# --- one key, never another -------------------------------------------------------------------------------------------

RACER = """
import sys
from manifold_common.adapters.keyfile.provider import FileKeyProvider
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.domain.keys import KeyContext
provider = FileKeyProvider(sys.argv[1], clock=SystemClock(), randomness=SystemRandomness())
print("ready", flush=True)
sys.stdin.readline()
wrapped = provider.wrap(b"the material", KeyContext("t", "p", "d"))
print(wrapped.key_version, wrapped.ciphertext.hex())
"""


def test_processes_that_race_at_first_use_end_with_one_key(folder: Path) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    provider = open_provider(folder)
    context = KeyContext(TenantId("t"), ProjectId("p"), DekId("d"))
    for racer in racers:
        out, _ = racer.communicate(timeout=60)
        version, ciphertext = out.split()
        assert version == "1"
        record = provider.wrap(b"x", context)._replace(ciphertext=bytes.fromhex(ciphertext))
        assert provider.unwrap(record, context) == b"the material"
    assert list(snapshot(folder)) == ["default/1.key"]


def test_rotation_by_two_at_once_keeps_every_version(provider: FileKeyProvider, folder: Path) -> None:
    provider.wrap(MATERIAL, CONTEXT)
    keystore = Keystore(folder, clock=SystemClock(), randomness=SystemRandomness())
    assert keystore.create("default", after=1) == 2
    before = snapshot(folder)
    assert keystore.create("default", after=1) == 2, "the second of two that saw version 1 makes no third"
    assert snapshot(folder) == before


def test_rewrapping_makes_no_key_where_the_keystore_is_lost(provider: FileKeyProvider, folder: Path) -> None:
    wrapped = provider.wrap(bytes(32), CONTEXT)
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(KeyUnavailable):
        open_provider(folder).rewrap(wrapped, CONTEXT)
    assert not (folder / "default").exists()


def test_once_a_key_was_missed_health_says_so_and_none_is_made_in_its_place(folder: Path) -> None:
    wrapped = open_provider(folder).wrap(MATERIAL, CONTEXT)
    away = folder.rename(folder.with_name("elsewhere"))
    provider = open_provider(folder)
    with pytest.raises(KeyUnavailable):
        provider.unwrap(wrapped, CONTEXT)
    health = provider.health()
    assert not health.ok and "restore the keystore from its backup" in health.detail
    with pytest.raises(KeyUnavailable, match="has no version 1"):
        provider.wrap(MATERIAL, CONTEXT)
    assert not folder.exists()
    away.rename(folder)
    assert provider.unwrap(wrapped, CONTEXT) == MATERIAL
    assert provider.health().ok


def lose_mount(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to(folder.with_name("not-mounted"))


def make_file(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    folder.write_text("")


def loop(folder: Path) -> None:
    (folder / "default").rename(folder / "default-elsewhere")
    (folder / "default").symlink_to("default")


def empty_key(folder: Path) -> None:
    (folder / "default/1.key").write_bytes(b"")


def cut_key(folder: Path) -> None:
    whole = (folder / "default/1.key").read_bytes()
    (folder / "default/1.key").write_bytes(whole[:-1])


def other_key(folder: Path) -> None:
    open_provider(folder, "other").rotate()
    (folder / "default/1.key").write_bytes((folder / "other/1.key").read_bytes())


def link_key(folder: Path) -> None:
    (folder / "default/1.key").rename(folder.parent / "1.key")
    (folder / "default/1.key").symlink_to(folder.parent / "1.key")


def fifo_key(folder: Path) -> None:
    (folder / "default/1.key").unlink()
    os.mkfifo(folder / "default/1.key", 0o600)


def open_key_to_group(folder: Path) -> None:
    (folder / "default/1.key").chmod(0o640)


def open_key_to_world(folder: Path) -> None:
    (folder / "default/1.key").chmod(0o604)


def open_folder_to_group(folder: Path) -> None:
    (folder / "default").chmod(0o770)


def open_keystore_to_world(folder: Path) -> None:
    folder.chmod(0o707)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lose_mount, "keystorePath"),
        (make_file, "keystorePath"),
        (loop, "keystorePath"),
        (empty_key, "empty"),
        (cut_key, "cut short"),
        (other_key, "'other'"),
        (link_key, "keystore"),
        (fifo_key, "not a file"),
        (open_key_to_group, "chmod 600"),
        (open_key_to_world, "0604"),
        (open_folder_to_group, "chmod 700"),
        (open_keystore_to_world, "chmod 700"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_keystore_that_cannot_be_trusted_is_an_error_and_gets_no_new_key(
    provider: FileKeyProvider, folder: Path, harm: Callable[[Path], None], said: str
) -> None:
    wrapped = provider.wrap(MATERIAL, CONTEXT)
    harm(folder)
    before = snapshot(folder.parent)
    for operation in (
        lambda: provider.wrap(MATERIAL, CONTEXT),
        lambda: open_provider(folder).wrap(MATERIAL, CONTEXT),
        lambda: provider.unwrap(wrapped, CONTEXT),
        lambda: provider.rewrap(wrapped, CONTEXT),
        provider.describe,
    ):
        with pytest.raises(KeyUnavailable) as caught:
            operation()
        assert said in str(caught.value)
        assert caught.value.hint
    health = provider.health()
    assert not health.ok
    assert said in health.detail
    assert snapshot(folder.parent) == before


def test_a_keystore_read_error_makes_no_new_key(
    provider: FileKeyProvider, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.wrap(MATERIAL, CONTEXT)
    before = snapshot(folder)

    def fail(*_: object) -> list[str]:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", fail)
        for operation in (provider.rotate, lambda: provider.wrap(MATERIAL, CONTEXT)):
            with pytest.raises(KeyUnavailable, match="Input/output error"):
                operation()
    assert snapshot(folder) == before


@pytest.mark.skipif(ignores_permissions(), reason="root is refused nothing")
@pytest.mark.parametrize("name", [".", "default", "default/1.key"])
def test_a_keystore_without_permission_makes_no_new_key(provider: FileKeyProvider, folder: Path, name: str) -> None:
    provider.wrap(MATERIAL, CONTEXT)
    before = snapshot(folder)
    mode = (folder / name).stat().st_mode
    (folder / name).chmod(0)
    try:
        with pytest.raises(KeyUnavailable, match="Permission denied"):
            open_provider(folder).wrap(MATERIAL, CONTEXT)
    finally:
        (folder / name).chmod(mode)
    assert snapshot(folder) == before


def test_another_keystore_with_a_key_of_the_same_name_is_told_from_damage(folder: Path) -> None:
    wrapped = open_provider(folder).wrap(MATERIAL, CONTEXT)
    impostor = open_provider(folder.parent / "other-keystore")
    impostor.wrap(MATERIAL, CONTEXT)
    with pytest.raises(KeyUnavailable, match="another key called 'default' version 1"):
        impostor.unwrap(wrapped, CONTEXT)


def test_making_a_key_that_fails_half_way_leaves_no_key(
    provider: FileKeyProvider, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for call in ("write", "fsync", "link"):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left on device")))
            with pytest.raises(KeyUnavailable, match="No space left"):
                provider.wrap(MATERIAL, CONTEXT)
        assert [path.name for path in folder.rglob("*") if path.is_file() and path.name != "~lock"] == []
    assert provider.wrap(MATERIAL, CONTEXT).key_version == 1


def test_a_lock_that_is_never_given_back_is_an_error_in_bounded_time(folder: Path) -> None:
    folder.mkdir(parents=True, mode=0o700)
    clock = ManualClock()
    provider = FileKeyProvider(folder, clock=clock, randomness=SeededRandomness())
    with (folder / "~lock").open("w") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(KeyUnavailable, match="another process"):
            provider.wrap(MATERIAL, CONTEXT)
    assert LOCK_SECONDS <= clock.monotonic() < LOCK_SECONDS + 1
    assert provider.wrap(MATERIAL, CONTEXT).key_version == 1


def test_opening_and_reading_need_no_writable_keystore(provider: FileKeyProvider, folder: Path) -> None:
    wrapped = provider.wrap(MATERIAL, CONTEXT)
    (folder / "~lock").unlink()
    reader = open_provider(folder)
    assert reader.unwrap(wrapped, CONTEXT) == MATERIAL
    assert reader.wrap(MATERIAL, CONTEXT).key_version == 1
    assert not (folder / "~lock").exists()


# --- secrets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "a\0", "-a", "a..b", "a" * 65, "ключ", "a\n"])
def test_a_name_that_is_no_key_name_is_a_setting_to_correct(folder: Path, name: str) -> None:
    with pytest.raises(ConfigError):
        open_provider(folder, name)
    assert not folder.exists()


def test_no_key_is_shown_pickled_or_kept(provider: FileKeyProvider, folder: Path) -> None:
    provider.wrap(MATERIAL, CONTEXT)
    keystore = Keystore(folder, clock=SystemClock(), randomness=SystemRandomness())
    with keystore.load("default", 1) as key:
        secret = bytes(key.material)
        assert secret in (folder / "default/1.key").read_bytes()
        for shown in (repr(key), str(key), repr(provider), str(provider.describe()), str(provider.health())):
            assert secret.hex() not in shown
            assert repr(secret)[2:-1] not in shown
        for holder in (key, provider):
            with pytest.raises(TypeError):
                pickle.dumps(holder)
    assert key.material == bytearray(32), "wiped at the end of the block"
