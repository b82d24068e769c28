"""What the port of the key provider promises, held against every provider."""

from __future__ import annotations

import pickle
import re
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar, Protocol

import pytest
from manifold_common.adapters.aws.account import ChainedAccount
from manifold_common.adapters.keyfile.provider import FileKeyProvider
from manifold_common.adapters.kms.options import KmsOptions
from manifold_common.adapters.kms.provider import KmsKeyProvider
from manifold_common.adapters.memory.key_provider import MemoryKeyProvider
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.adapters.vault.options import TokenSignIn, VaultOptions
from manifold_common.adapters.vault.provider import VaultKeyProvider
from manifold_common.domain.keys import KeyContext, WrappedKey
from manifold_common.errors import ConfigError, CorruptObject, InvalidInput, KeyUnavailable
from manifold_common.ids import DekId, ProjectId, TenantId
from manifold_common.ports.credentials import Fixed
from manifold_common.ports.key_provider import MAX_MATERIAL_BYTES, KeyProvider

from tests.support.kms import REGION, MotoKms
from tests.support.openbao import OpenBao

MATERIAL = bytes(range(64))
CONTEXT = KeyContext(TenantId("acme"), ProjectId("p" * 26), DekId("d" * 26))


class KeyServer(Protocol):
    """One place of keys, and what an operator does to it."""

    makes_keys: bool
    """Whether a provider makes a key when it first wraps under it. Else the key is there from the beginning."""

    def provider(self, key_name: str = "default") -> KeyProvider:
        """Return a provider over the same keys, with ``key_name`` configured."""

    def rotate(self, key_name: str = "default") -> int:
        """Make a new version of the key and return it."""

    def named(self, key_name: str) -> str:
        """Return what records call the key."""

    def called(self, key_name: str) -> str:
        """Return what settings call the key."""

    def version(self, count: int) -> int:
        """Return what records call the version that is the ``count``-th."""

    def wrapped_under_a_lost_key(self) -> WrappedKey:
        """Return a record whose key, ``lost-key``, is not to be had."""


class VersionsThatCount:
    def named(self, key_name: str) -> str:
        return key_name

    def called(self, key_name: str) -> str:
        return key_name

    def version(self, count: int) -> int:
        return count


class FileKeyServer(VersionsThatCount):
    makes_keys = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def provider(self, key_name: str = "default") -> FileKeyProvider:
        return FileKeyProvider(self.folder, key_name=key_name, clock=SystemClock(), randomness=SystemRandomness())

    def rotate(self, key_name: str = "default") -> int:
        return self.provider(key_name).rotate()

    def wrapped_under_a_lost_key(self) -> WrappedKey:
        return FileKeyServer(self.folder.with_name("elsewhere")).provider("lost-key").wrap(MATERIAL, CONTEXT)


class MemoryKeyServer(VersionsThatCount):
    makes_keys = True

    def __init__(self) -> None:
        self._provider = MemoryKeyProvider(SystemRandomness())

    def provider(self, key_name: str = "default") -> MemoryKeyProvider:
        self._provider.key_name = key_name
        return self._provider

    def rotate(self, key_name: str = "default") -> int:
        return self.provider(key_name).rotate()

    def wrapped_under_a_lost_key(self) -> WrappedKey:
        return MemoryKeyProvider(SystemRandomness(), key_name="lost-key").wrap(MATERIAL, CONTEXT)


class VaultKeyServer(VersionsThatCount):
    makes_keys = False

    def __init__(self, server: OpenBao, mount: str, *, derived: bool) -> None:
        self.server = server
        self.mount = mount
        self.derived = derived

    def provider(self, key_name: str = "default") -> VaultKeyProvider:
        self.server.make_key(key_name, self.mount, derived=self.derived)
        options = VaultOptions(self.server.url, key_name, TokenSignIn(self.server.root_token), mount_path=self.mount)
        return VaultKeyProvider(options, clock=SystemClock(), randomness=SystemRandomness())

    def rotate(self, key_name: str = "default") -> int:
        return self.server.rotate(key_name, self.mount)

    def wrapped_under_a_lost_key(self) -> WrappedKey:
        wrapped = self.provider("lost-key").wrap(MATERIAL, CONTEXT)
        self.server.delete_key("lost-key", self.mount)
        return wrapped


class KmsKeyServer:
    makes_keys = False

    _made: ClassVar[dict[tuple[str, str], KmsKeyProvider]] = {}
    """Kept between tests, since each loads the description of the service anew, for 0.1 s of CPU time."""

    def __init__(self, service: MotoKms) -> None:
        self.service = service

    def provider(self, key_name: str = "default") -> KmsKeyProvider:
        self.named(key_name)
        options = KmsOptions(f"alias/{key_name}", region=REGION, endpoint=self.service.url)
        made = KmsKeyProvider(options, Fixed(ChainedAccount()), clock=SystemClock(), randomness=SystemRandomness())
        return self._made.setdefault((self.service.url, key_name), made)

    def rotate(self, key_name: str = "default") -> int:
        self.service.rotate(key_name)
        return 0

    def named(self, key_name: str) -> str:
        return self.service.key(key_name)

    def called(self, key_name: str) -> str:
        return f"alias/{key_name}"

    def version(self, count: int) -> int:
        return 0

    def wrapped_under_a_lost_key(self) -> WrappedKey:
        wrapped = self.provider().wrap(MATERIAL, CONTEXT)
        lost = wrapped.key_name[:-8] + "10573235"
        blob = lost[-36:].encode() + wrapped.ciphertext[37:]  # moto's blobs begin with the id of their key
        return checked(wrapped._replace(key_name=lost, ciphertext=wrapped.ciphertext[:1] + blob))


def checked(wrapped: WrappedKey) -> WrappedKey:
    """Return a record of the provider awskms with a checksum that fits, as a forger makes it."""
    body = wrapped.ciphertext[:-4]
    named = f"{wrapped.provider}\0{wrapped.key_name}\0{wrapped.key_version}\0".encode()
    return wrapped._replace(ciphertext=body + zlib.crc32(named + body).to_bytes(4, "big"))


@pytest.fixture(params=["memory", "file", "vault", "vault-without-derivation", "awskms"])
def key_server(request: pytest.FixtureRequest, tmp_path: Path) -> KeyServer:
    kind = request.param
    if kind == "memory":
        return MemoryKeyServer()
    if kind == "file":
        return FileKeyServer(tmp_path / "keystore")
    if kind == "awskms":
        return KmsKeyServer(request.getfixturevalue("moto_kms"))
    server, mount = request.getfixturevalue("openbao"), request.getfixturevalue("transit_mount")
    return VaultKeyServer(server, mount, derived=kind == "vault")


@pytest.fixture
def provider(key_server: KeyServer) -> KeyProvider:
    return key_server.provider()


# --- wrap and unwrap --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 32, 64, MAX_MATERIAL_BYTES])
def test_what_was_wrapped_is_what_is_unwrapped(provider: KeyProvider, size: int) -> None:
    material = (bytes(range(256)) * 16)[:size]
    assert provider.unwrap(provider.wrap(material, CONTEXT), CONTEXT) == material


def test_the_record_names_provider_key_and_version(key_server: KeyServer) -> None:
    provider = key_server.provider("tenants-eu")
    wrapped = provider.wrap(MATERIAL, CONTEXT)
    expected = (provider.name, key_server.named("tenants-eu"), key_server.version(1))
    assert (wrapped.provider, wrapped.key_name, wrapped.key_version) == expected


def test_the_record_does_not_hold_the_material(provider: KeyProvider) -> None:
    wrapped = provider.wrap(MATERIAL, CONTEXT)
    assert MATERIAL[:8] not in wrapped.ciphertext
    assert MATERIAL[:8].hex() not in repr(wrapped)


def test_the_same_material_is_never_wrapped_to_the_same_bytes(provider: KeyProvider) -> None:
    assert len({provider.wrap(MATERIAL, CONTEXT).ciphertext for _ in range(50)}) == 50


@pytest.mark.parametrize("size", [0, MAX_MATERIAL_BYTES + 1])
def test_nothing_and_too_much_are_refused(provider: KeyProvider, size: int) -> None:
    with pytest.raises(InvalidInput):
        provider.wrap(bytes(size), CONTEXT)


def test_a_second_provider_over_the_same_keys_opens_what_the_first_wrapped(key_server: KeyServer) -> None:
    wrapped = key_server.provider().wrap(MATERIAL, CONTEXT)
    assert key_server.provider().unwrap(wrapped, CONTEXT) == MATERIAL


# --- what a record is bound to ----------------------------------------------------------------------------------------


def assert_opens_in_no_other(provider: KeyProvider, context: KeyContext) -> None:
    wrapped = provider.wrap(MATERIAL, CONTEXT)
    for operation in (provider.unwrap, provider.rewrap):
        with pytest.raises(CorruptObject):
            operation(wrapped, context)
    assert provider.unwrap(wrapped, CONTEXT) == MATERIAL


def test_a_record_does_not_open_for_another_tenant(provider: KeyProvider) -> None:
    assert_opens_in_no_other(provider, CONTEXT._replace(tenant=TenantId("acme2")))


def test_a_record_does_not_open_for_another_project(provider: KeyProvider) -> None:
    assert_opens_in_no_other(provider, CONTEXT._replace(project=ProjectId("q" * 26)))


def test_a_record_does_not_open_as_another_dek(provider: KeyProvider) -> None:
    assert_opens_in_no_other(provider, CONTEXT._replace(dek=DekId("e" * 26)))


@pytest.mark.parametrize("epoch", [0, 1, 21])
def test_a_record_does_not_open_in_another_epoch_and_is_wrapped_anew_in_its_own(
    provider: KeyProvider, epoch: int
) -> None:
    context = CONTEXT._replace(epoch=epoch)
    wrapped = provider.wrap(MATERIAL, context)
    for record in (wrapped, provider.rewrap(wrapped, context)):
        assert provider.unwrap(record, context) == MATERIAL
        for other in {0, 1, 2, 12, 21} - {epoch}:
            with pytest.raises(CorruptObject):
                provider.unwrap(record, context._replace(epoch=other))
            with pytest.raises(CorruptObject):
                provider.rewrap(record, context._replace(epoch=other))


def test_a_record_does_not_open_when_a_field_is_moved_into_its_neighbour(provider: KeyProvider) -> None:
    wrapped = provider.wrap(MATERIAL, KeyContext(TenantId("ab"), ProjectId("c"), DekId("d")))
    for other in (("a", "bc", "d"), ("ab", "", "cd"), ("abc", "", "d"), ("", "abc", "d")):
        with pytest.raises(CorruptObject):
            provider.unwrap(wrapped, KeyContext(TenantId(other[0]), ProjectId(other[1]), DekId(other[2])))


def test_a_record_does_not_open_under_another_key_name(key_server: KeyServer) -> None:
    key_server.provider("other").wrap(MATERIAL, CONTEXT)
    provider = key_server.provider()
    wrapped = provider.wrap(MATERIAL, CONTEXT)
    with pytest.raises(CorruptObject):
        provider.unwrap(wrapped._replace(key_name=key_server.named("other")), CONTEXT)


def test_a_record_does_not_open_under_another_version(key_server: KeyServer) -> None:
    provider = key_server.provider()
    wrapped = provider.wrap(MATERIAL, CONTEXT)
    key_server.rotate()
    with pytest.raises(CorruptObject):
        provider.unwrap(wrapped._replace(key_version=2), CONTEXT)


def test_a_record_of_another_provider_is_not_touched(provider: KeyProvider) -> None:
    wrapped = provider.wrap(MATERIAL, CONTEXT)
    with pytest.raises(KeyUnavailable, match="elsewhere"):
        provider.unwrap(wrapped._replace(provider="elsewhere"), CONTEXT)


def test_every_changed_bit_is_noticed(provider: KeyProvider) -> None:
    wrapped = provider.wrap(b"0123456789abcdef", CONTEXT)
    for index in range(len(wrapped.ciphertext)):
        for bit in (0, 7):
            changed = bytearray(wrapped.ciphertext)
            changed[index] ^= 1 << bit
            with pytest.raises(CorruptObject) as caught:
                provider.unwrap(wrapped._replace(ciphertext=bytes(changed)), CONTEXT)
            assert CONTEXT.project in caught.value.object_name


def test_every_cut_and_addition_is_noticed(provider: KeyProvider) -> None:
    wrapped = provider.wrap(b"0123456789abcdef", CONTEXT)
    whole = wrapped.ciphertext
    for data in [*(whole[:length] for length in range(len(whole))), whole + b"\0", b"\0" + whole, b"", b"junk" * 100]:
        with pytest.raises(CorruptObject):
            provider.unwrap(wrapped._replace(ciphertext=data), CONTEXT)


# --- rotation and renaming --------------------------------------------------------------------------------------------


def test_a_provider_rotates_its_key_itself(key_server: KeyServer) -> None:
    provider, before = key_server.provider(), datetime.now(UTC)
    old = provider.wrap(MATERIAL, CONTEXT)
    assert provider.rotate() == key_server.version(2)
    new = provider.wrap(MATERIAL, CONTEXT)
    assert (old.key_version, new.key_version) == (key_server.version(1), key_server.version(2))
    assert provider.unwrap(old, CONTEXT) == provider.unwrap(new, CONTEXT) == MATERIAL
    made_at = provider.made_at()
    assert made_at is None or timedelta(seconds=-2) <= made_at - before <= timedelta(minutes=1)
    assert (made_at is None) is (provider.name in ("memory", "awskms"))


def test_the_same_provider_wraps_under_another_key(key_server: KeyServer) -> None:
    provider = key_server.provider("first")
    old = provider.wrap(MATERIAL, CONTEXT)
    key_server.provider("second")
    provider = key_server.provider("first")
    other = provider.with_key(key_server.called("second"), create=True)
    new = other.rewrap(old, CONTEXT)
    assert (old.key_name, new.key_name) == (key_server.named("first"), key_server.named("second"))
    assert provider.unwrap(new, CONTEXT) == other.unwrap(old, CONTEXT) == MATERIAL
    assert provider.wrap(MATERIAL, CONTEXT).key_name == key_server.named("first"), "the one it came from is as it was"


def test_a_key_that_is_not_there_is_not_made_unless_it_is_asked_for(key_server: KeyServer) -> None:
    provider = key_server.provider("first")
    record = provider.wrap(MATERIAL, CONTEXT)
    known = provider.own_keys()
    assert known is None or key_server.named("first") in known
    if provider.name == "awskms":
        return  # what it says of a key that is not there: tests/contract/test_kms.py
    other = provider.with_key("no-such-key")
    with pytest.raises(KeyUnavailable):
        other.wrap(MATERIAL, CONTEXT)
    with pytest.raises(KeyUnavailable):
        other.rewrap(record, CONTEXT)
    assert provider.own_keys() == known
    if known is not None:
        assert provider.with_key("no-such-key", create=True).rewrap(record, CONTEXT).key_name == "no-such-key"
        assert provider.own_keys() == sorted([*known, "no-such-key"])


def test_what_can_be_no_name_of_a_key_is_refused(provider: KeyProvider) -> None:
    if provider.name != "memory":
        with pytest.raises(ConfigError):
            provider.with_key("no such\0name")


def test_after_rotation_old_records_open_and_new_ones_use_the_new_version(key_server: KeyServer) -> None:
    provider = key_server.provider()
    old = provider.wrap(MATERIAL, CONTEXT)
    assert key_server.rotate() == key_server.version(2)
    new = provider.wrap(MATERIAL, CONTEXT)
    assert (old.key_version, new.key_version) == (key_server.version(1), key_server.version(2))
    assert provider.unwrap(old, CONTEXT) == provider.unwrap(new, CONTEXT) == MATERIAL


def test_rewrap_after_rotation_moves_a_record_to_the_new_version(key_server: KeyServer) -> None:
    provider = key_server.provider()
    old = provider.wrap(MATERIAL, CONTEXT)
    key_server.rotate()
    new = provider.rewrap(old, CONTEXT)
    assert (new.key_name, new.key_version) == (key_server.named("default"), key_server.version(2))
    assert new.ciphertext != old.ciphertext
    assert provider.unwrap(new, CONTEXT) == MATERIAL


def test_after_the_key_name_changed_old_records_open_and_rewrap_moves_them(key_server: KeyServer) -> None:
    old = key_server.provider("first").wrap(MATERIAL, CONTEXT)
    provider = key_server.provider("second")
    assert provider.unwrap(old, CONTEXT) == MATERIAL
    new = provider.rewrap(old, CONTEXT)
    assert (old.key_name, new.key_name, new.key_version) == (
        key_server.named("first"),
        key_server.named("second"),
        key_server.version(1),
    )
    assert provider.unwrap(new, CONTEXT) == MATERIAL
    assert key_server.provider("first").unwrap(new, CONTEXT) == MATERIAL


def test_rewrap_of_a_current_record_still_opens(provider: KeyProvider) -> None:
    wrapped = provider.wrap(MATERIAL, CONTEXT)
    again = provider.rewrap(wrapped, CONTEXT)
    assert (again.key_name, again.key_version) == (wrapped.key_name, wrapped.key_version)
    assert provider.unwrap(again, CONTEXT) == MATERIAL


def test_rewrap_of_a_damaged_record_is_refused_even_if_it_is_current(provider: KeyProvider) -> None:
    wrapped = provider.wrap(MATERIAL, CONTEXT)
    damaged = wrapped.ciphertext[:-1] + bytes([wrapped.ciphertext[-1] ^ 1])
    with pytest.raises(CorruptObject):
        provider.rewrap(wrapped._replace(ciphertext=damaged), CONTEXT)


# --- keys that are not there ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"key_name": "never-made"}, "never-made"),
        ({"key_version": 7}, "7"),
        ({"key_version": 0}, "0"),
        ({"key_version": -1}, "-1"),
        ({"key_version": 10**30}, "1000000"),
        ({"key_name": "../../etc"}, "etc"),
        ({"key_name": "nul\0"}, "nul"),
        ({"key_name": "\udcff"}, "udcff"),
        ({"key_name": ""}, "''"),
    ],
    ids=ascii,
)
def test_an_unknown_key_is_unavailable_by_its_name_or_the_record_is_damaged(
    provider: KeyProvider, changes: dict[str, object], named: str
) -> None:
    wrapped = provider.wrap(MATERIAL, CONTEXT)
    changed = wrapped._replace(**changes)  # type: ignore[arg-type]
    if changed == wrapped:
        pytest.skip("its records have this version")
    with pytest.raises((KeyUnavailable, CorruptObject)):
        provider.unwrap(changed, CONTEXT)


def test_a_key_lost_since_is_unavailable_and_named(key_server: KeyServer) -> None:
    wrapped = key_server.wrapped_under_a_lost_key()
    provider = key_server.provider()
    for operation in (provider.unwrap, provider.rewrap):
        with pytest.raises(KeyUnavailable, match=re.escape(wrapped.key_name)) as caught:
            operation(wrapped, CONTEXT)
        named = {"key_name": wrapped.key_name, "key_version": key_server.version(1)}
        assert caught.value.details.items() >= named.items()


# --- what an operator sees --------------------------------------------------------------------------------------------


def secrets_of(key_server: KeyServer) -> list[str]:
    if isinstance(key_server, VaultKeyServer):
        return [key_server.server.root_token]
    return ["the-secret-of-the-tests"] if isinstance(key_server, KmsKeyServer) else []


def test_describe_names_the_current_key_and_shows_no_secret(key_server: KeyServer) -> None:
    provider = key_server.provider("kek")
    if key_server.makes_keys:
        assert provider.describe()["key_version"] == "none yet"
    provider.wrap(MATERIAL, CONTEXT)
    key_server.rotate("kek")
    facts = provider.describe()
    expected = (provider.name, key_server.named("kek"), str(key_server.version(2)))
    assert (facts["provider"], facts["key_name"], facts["key_version"]) == expected
    assert all(isinstance(value, str) for value in facts.values())
    assert not [secret for secret in secrets_of(key_server) if secret in repr((facts, provider, provider.health()))]


def test_health_says_yes_before_and_after_first_use(provider: KeyProvider) -> None:
    assert provider.health().ok
    provider.wrap(MATERIAL, CONTEXT)
    health = provider.health()
    assert health.ok
    assert health.latency_seconds >= 0


def test_health_makes_no_key(key_server: KeyServer) -> None:
    if not key_server.makes_keys:
        pytest.skip("its operator makes the keys")
    provider = key_server.provider()
    provider.health()
    assert provider.describe()["key_version"] == "none yet"


def test_a_provider_is_never_pickled(provider: KeyProvider) -> None:
    if isinstance(provider, MemoryKeyProvider):
        pytest.skip("for tests only")
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(provider)


def test_a_record_survives_being_stored_as_plain_values(provider: KeyProvider) -> None:
    wrapped = provider.wrap(MATERIAL, CONTEXT)
    stored = WrappedKey(str(wrapped[0]), str(wrapped[1]), int(wrapped[2]), bytes(wrapped[3]))
    assert provider.unwrap(stored, CONTEXT) == MATERIAL
