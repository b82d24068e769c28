"""Wraps data keys with the Transit engine of HashiCorp Vault (1.13 or newer) or OpenBao.

A wrapped key is ASCII text, ``<binding>:vault:v<version>:<base64>``: what Transit answered, behind the name of the
Transit parameter that carried ``KeyContext.binding``:

- ``context`` for a key made with ``derived=true``. Transit derives a key of its own for each context, and can re-wrap
  without letting the material out.
- ``associated_data`` for a key without derivation. Transit's re-wrap takes no associated data, so this provider unwraps
  and wraps.

The key version in the binding is 0: Transit chooses the version after it was given the binding, and re-wrapping uses
one binding for both versions. The version is authenticated all the same, since each has key bytes of its own.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple, NoReturn

from manifold_common.adapters.vault.confidential import Body
from manifold_common.adapters.vault.failures import Answer, Refusals
from manifold_common.adapters.vault.options import SignIn, VaultOptions, is_key_name
from manifold_common.adapters.vault.session import VaultSession
from manifold_common.domain.keys import KeyContext, WrappedKey
from manifold_common.domain.wording import span
from manifold_common.errors import CorruptObject, InvalidInput, KeyUnavailable
from manifold_common.ports.clock import Clock, Randomness
from manifold_common.ports.credentials import Credentials
from manifold_common.ports.deadline import within
from manifold_common.ports.key_provider import MAX_MATERIAL_BYTES, KeyHealth, Requests

_RECORD = re.compile(rb"(context|associated_data):(vault:v([1-9][0-9]{0,8}):([A-Za-z0-9+/]+={0,2}))")
_ISSUED = re.compile(r"vault:v([1-9][0-9]{0,8}):[A-Za-z0-9+/]+={0,2}")
_DOES_NOT_OPEN = ("message authentication failed", "invalid ciphertext", "missing 'context' for key derivation")
_KEY_TYPE = "aes256-gcm96"


class _Record(NamedTuple):
    binding: str
    ciphertext: str


class _TransitKey(NamedTuple):
    kind: str
    derived: bool
    version: int
    made_at: datetime | None

    @property
    def binding(self) -> str:
        return "context" if self.derived else "associated_data"


class VaultKeyProvider:
    """The provider ``vault``. Thread-safe; connects when first used."""

    name = "vault"
    requests = Requests(wrap=2, unwrap=1, rewrap=1)

    def __init__(
        self,
        options: VaultOptions,
        *,
        clock: Clock,
        randomness: Randomness,
        credentials: Credentials[SignIn] | None = None,
        session: VaultSession | None = None,
    ) -> None:
        """
        Args:
            credentials: instead of the options' own, which are the ones to begin with.
            session: to be shared; default: one of its own, with ``credentials``.
        """
        self._options = options
        self._clock = clock
        self._randomness = randomness
        self._refusals = Refusals(options)
        self._session = session or VaultSession(options, clock=clock, randomness=randomness, credentials=credentials)

    def __repr__(self) -> str:
        return f"VaultKeyProvider({self._options.where!r}, key_name={self._options.key_name!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key provider is never pickled or copied")

    def wrap(self, material: bytes, context: KeyContext) -> WrappedKey:
        """As the port says. The Transit key has to exist: one that was mistyped or lost is never made anew here."""
        if not 0 < len(material) <= MAX_MATERIAL_BYTES:
            raise InvalidInput(f"{len(material)} bytes cannot be wrapped", hint=f"wrap 1 to {MAX_MATERIAL_BYTES} bytes")
        name = self._options.key_name
        key = self._usable_key()
        body = Body({"plaintext": _base64(material), key.binding: self._bound(name, context)})
        answer = self._session.request("post", self._path("encrypt", name), body)
        if not answer.ok:
            raise self._refused(answer, "encrypt", name)
        return self._issued(answer, "encrypt", key.binding)

    def unwrap(self, wrapped: WrappedKey, context: KeyContext) -> bytes:
        record = self._read(wrapped, context)
        answer = self._open("decrypt", record, wrapped, context)
        data = answer.data.get("data")
        plaintext = data.get("plaintext") if isinstance(data, dict) else None
        try:
            return (
                base64.b64decode(plaintext, validate=True) if isinstance(plaintext, str) else self._strange("decrypt")
            )
        except binascii.Error:
            pass
        return self._strange("decrypt")

    def rewrap(self, wrapped: WrappedKey, context: KeyContext) -> WrappedKey:
        """As the port says. The material stays in Vault if the key's name is the same and the key is a derived one."""
        record = self._read(wrapped, context)
        if self.stays_inside(wrapped):
            return self._issued(self._open("rewrap", record, wrapped, context), "rewrap", record.binding)
        return self.wrap(self.unwrap(wrapped, context), context)

    def stays_inside(self, wrapped: WrappedKey) -> bool:
        return wrapped.ciphertext.startswith(b"context:") and wrapped.key_name == self._options.key_name

    def with_key(self, key_name: str, *, create: bool = False) -> VaultKeyProvider:  # noqa: ARG002 - none is made
        options = replace(self._options, key_name=key_name)
        return VaultKeyProvider(options, clock=self._clock, randomness=self._randomness, session=self._session)

    def own_keys(self) -> None:
        return None

    def rotate(self) -> int:
        self._usable_key()
        path = f"{self._path('keys', self._options.key_name)}/rotate"
        answer = self._session.request("post", path, Body({}))
        if not answer.ok:
            raise self._refusals.not_understood(path, answer.status)
        return self._usable_key().version

    def made_at(self) -> datetime | None:
        key = self._key(patient=True)
        return None if key is None else key.made_at

    def describe(self) -> dict[str, str]:
        options = self._options
        facts = {
            "provider": self.name,
            "address": options.address,
            "mount_path": options.mount_path,
            "key_name": options.key_name,
            "sign_in": options.sign_in.method,
        }
        if options.namespace:
            facts["namespace"] = options.namespace
        key = self._key(patient=True)
        if key is None:
            return facts | {"key_version": "none yet"}
        return facts | {"key_version": str(key.version), "key_type": key.kind, "binding": key.binding}

    def health(self) -> KeyHealth:
        begun = self._clock.monotonic()
        try:
            ok, detail = within(self._options.timeout_seconds, self._examine)
        except TimeoutError:
            late = self._refusals.unreachable(f"no answer within {span(self._options.timeout_seconds)}", passing=True)
            ok, detail = False, str(late)
        except KeyUnavailable as error:
            ok, detail = False, str(error)
        return KeyHealth(ok, detail, self._clock.monotonic() - begun)

    # --- what Vault says of the key -------------------------------------------------------------------------------

    def _examine(self) -> tuple[bool, str]:
        options = self._options
        key = self._usable_key(patient=False)
        paths = [self._path(operation, options.key_name) for operation in ("encrypt", "decrypt", "rewrap")]
        for path in paths:
            if not self._may_write(path):
                raise self._refusals.forbidden(path)
        detail = f"Transit key {options.key_name!r} version {key.version} at {options.where}"
        token = self._session.token_facts()
        return True, f"{detail}; {token}" if token else detail

    def _may_write(self, path: str) -> bool:
        try:
            answer = self._session.request("post", "sys/capabilities-self", Body(paths=[path]), patient=False)
        except KeyUnavailable as error:
            if error.details.get("reason") not in ("forbidden", "token"):
                raise
            return True  # a token without Vault's default policy cannot ask (it was good a moment ago)
        found = answer.data.get("capabilities")
        return not isinstance(found, list) or bool({"update", "root", "sudo"} & set(map(str, found)))

    def _key(self, *, patient: bool) -> _TransitKey | None:
        """Return what is known of the current key, ``None`` if there is none."""
        path = self._path("keys", self._options.key_name)
        answer = self._session.request("get", path, patient=patient)
        if answer.status == 404 and not answer.errors:
            return None
        if answer.status == 404:
            raise self._refusals.missing_mount()
        data = answer.data.get("data")
        if not isinstance(data, dict) or not isinstance(data.get("latest_version"), int):
            raise self._refusals.not_understood(path, answer.status)
        version, versions = data["latest_version"], data.get("keys")
        made_at = _moment(versions.get(str(version))) if isinstance(versions, Mapping) else None
        return _TransitKey(str(data.get("type")), data.get("derived") is True, version, made_at)

    def _usable_key(self, *, patient: bool = True) -> _TransitKey:
        key = self._key(patient=patient)
        if key is None:
            raise self._refusals.missing_key(self._options.key_name)
        if key.kind != _KEY_TYPE:
            raise self._refusals.wrong_kind(self._options.key_name, key.kind)
        return key

    # --- records --------------------------------------------------------------------------------------------------

    def _read(self, wrapped: WrappedKey, context: KeyContext) -> _Record:
        where = _where(context)
        if wrapped.provider != self.name:
            raise KeyUnavailable(
                f"{where} was wrapped by the provider {wrapped.provider!r}, not {self.name!r}",
                hint="set encryption.provider to it, or configure it beside this one",
            )
        found = _RECORD.fullmatch(wrapped.ciphertext)
        if found is None or not _is_canonical(found[4]):
            raise CorruptObject(where, "its bytes were changed or cut short")
        if int(found[3]) != wrapped.key_version or not is_key_name(wrapped.key_name):
            raise CorruptObject(where, "the key that it names is not the one that wrapped it")
        return _Record(found[1].decode(), found[2].decode())

    def _open(self, operation: str, record: _Record, wrapped: WrappedKey, context: KeyContext) -> Answer:
        body = Body({"ciphertext": record.ciphertext, record.binding: self._bound(wrapped.key_name, context)})
        answer = self._session.request("post", self._path(operation, wrapped.key_name), body)
        if answer.ok:
            return answer
        name, version = wrapped.key_name, wrapped.key_version
        if "encryption key not found" in answer.errors:
            raise self._refusals.missing_key(name, version)
        if "too old" in answer.errors or "too new" in answer.errors:
            raise self._refusals.missing_version(name, version, retired="too old" in answer.errors)
        if answer.status == 400 and any(mark in answer.errors for mark in _DOES_NOT_OPEN):
            raise CorruptObject(
                _where(context),
                f"Vault does not open it with Transit key {name!r} version {version}: its bytes were changed, it "
                "belongs to another project, or the key was made anew under the same name",
            )
        raise self._refused(answer, operation, name)

    def _issued(self, answer: Answer, operation: str, binding: str) -> WrappedKey:
        data = answer.data.get("data")
        ciphertext = data.get("ciphertext") if isinstance(data, dict) else None
        found = _ISSUED.fullmatch(ciphertext) if isinstance(ciphertext, str) else None
        if found is None:
            self._strange(operation)
        record = f"{binding}:{found[0]}".encode("ascii")
        return WrappedKey(self.name, self._options.key_name, int(found[1]), record)

    def _refused(self, answer: Answer, operation: str, name: str) -> KeyUnavailable:
        if answer.status == 404:
            return self._refusals.missing_mount()
        return self._refusals.not_understood(self._path(operation, name), answer.status)

    def _strange(self, operation: str) -> NoReturn:
        raise self._refusals.not_understood(self._path(operation, self._options.key_name), 200)

    def _path(self, operation: str, name: str) -> str:
        return f"{self._options.mount_path}/{operation}/{name}"

    def _bound(self, key_name: str, context: KeyContext) -> str:
        return _base64(context.binding(self.name, key_name, 0))


def _moment(seconds: object) -> datetime | None:
    """Return what Transit says of when a version was made, in seconds since 1970."""
    try:
        return datetime.fromtimestamp(seconds, UTC) if isinstance(seconds, int) else None
    except (OverflowError, ValueError, OSError):
        return None


def _where(context: KeyContext) -> str:
    return f"wrapped key {context.dek} of project {context.tenant}/{context.project}"


def _is_canonical(text: bytes) -> bool:
    """Say whether ``text`` is how base64 is written; its end has spare bits, which Vault does not look at."""
    try:
        return base64.b64encode(base64.b64decode(text, validate=True)) == text
    except binascii.Error:
        return False


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
