"""Wraps data keys with AWS KMS, bound to their context by KMS's encryption context.

A wrapped key, format 1:

| bytes | what |
|---|---|
| 1 | format version, 1 |
| n | the ``CiphertextBlob`` of KMS, as it came |
| 4 | CRC-32, big-endian, of the record's provider, key name and version (each ended by a zero byte), then all before |

The CRC protects nothing; it tells a damaged record from one of another project, for which KMS has one answer.

The record names the key by its ARN, whatever name the settings use, so that an alias can be pointed at another key. KMS
finds the version of the key (its rotations) by itself: the record's key version is 0.
"""

from __future__ import annotations

import threading
import zlib
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

from manifold_common.adapters.kms.options import KmsOptions, region_of
from manifold_common.domain.keys import KeyContext, WrappedKey
from manifold_common.domain.wording import span
from manifold_common.errors import CorruptObject, InvalidInput, KeyUnavailable
from manifold_common.ports.aws_account import AwsAccount
from manifold_common.ports.clock import Clock, Randomness
from manifold_common.ports.credentials import Credentials
from manifold_common.ports.deadline import within
from manifold_common.ports.key_provider import MAX_MATERIAL_BYTES, KeyHealth, Requests
from manifold_common.ports.retry import retry

if TYPE_CHECKING:
    from manifold_common.adapters.kms.client import KmsClient

_FORMAT = 1
_SHORTEST = 1 + 1 + 4


class KmsKeyProvider:
    """The provider ``awskms``. Thread-safe; connects when first used."""

    name = "awskms"
    requests = Requests(wrap=1, unwrap=1, rewrap=1)

    def __init__(
        self,
        options: KmsOptions,
        accounts: Credentials[AwsAccount],
        *,
        clock: Clock,
        randomness: Randomness,
    ) -> None:
        self._options = options
        self._accounts = accounts
        self._clock = clock
        self._randomness = randomness
        self._lock = threading.Lock()
        self._made: tuple[AwsAccount, KmsClient] | None = None

    def __repr__(self) -> str:
        return f"KmsKeyProvider({self._options.where!r}, key_id={self._options.key_id!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key provider is never pickled or copied")

    def wrap(self, material: bytes, context: KeyContext) -> WrappedKey:
        if not 0 < len(material) <= MAX_MATERIAL_BYTES:
            raise InvalidInput(f"{len(material)} bytes cannot be wrapped", hint=f"wrap 1 to {MAX_MATERIAL_BYTES} bytes")
        key = self._options.key_id
        answer = self._call("Encrypt", key, KeyId=key, Plaintext=material, EncryptionContext=_bound(context))
        return self._record(answer)

    def unwrap(self, wrapped: WrappedKey, context: KeyContext) -> bytes:
        blob = self._read(wrapped, context)
        key = wrapped.key_name
        parameters = {"KeyId": key, "CiphertextBlob": blob, "EncryptionContext": _bound(context)}
        return bytes(self._open("Decrypt", wrapped, context, parameters)["Plaintext"])

    def rewrap(self, wrapped: WrappedKey, context: KeyContext) -> WrappedKey:
        """As the port says. The material stays in KMS, unless the new key is in another region."""
        blob = self._read(wrapped, context)
        if not self.stays_inside(wrapped):
            return self.wrap(self.unwrap(wrapped, context), context)
        parameters = {
            "CiphertextBlob": blob,
            "SourceKeyId": wrapped.key_name,
            "SourceEncryptionContext": _bound(context),
            "DestinationKeyId": self._options.key_id,
            "DestinationEncryptionContext": _bound(context),
        }
        return self._record(self._open("ReEncrypt", wrapped, context, parameters))

    def stays_inside(self, wrapped: WrappedKey) -> bool:
        return self._client()[1].region_of(self._options.key_id) == region_of(wrapped.key_name)

    def with_key(self, key_name: str, *, create: bool = False) -> KmsKeyProvider:  # noqa: ARG002 - none is made
        options = replace(self._options, key_id=key_name)
        return KmsKeyProvider(options, self._accounts, clock=self._clock, randomness=self._randomness)

    def own_keys(self) -> None:
        return None

    def rotate(self) -> int:
        arn = str(self._metadata(patient=True).get("Arn"))  # an alias is not taken
        self._call("RotateKeyOnDemand", arn, KeyId=arn)
        return 0

    def made_at(self) -> datetime | None:
        return None

    def describe(self) -> dict[str, str]:
        facts = {"provider": self.name, "service": self._options.where, "key_id": self._options.key_id}
        found = self._metadata(patient=True)
        return facts | {
            "key_name": str(found.get("Arn")),
            "key_version": "0",
            "key_state": str(found.get("KeyState")),
            "key_spec": str(found.get("KeySpec")),
        }

    def health(self) -> KeyHealth:
        begun = self._clock.monotonic()
        try:
            found = within(self._options.timeout_seconds, lambda: self._metadata(patient=False))
        except TimeoutError:
            ok, detail = False, f"KMS at {self._options.where} did not answer in {span(self._options.timeout_seconds)}"
        except KeyUnavailable as error:
            ok, detail = False, str(error)
        else:
            state, spec = str(found.get("KeyState")), str(found.get("KeySpec"))
            ok = state == "Enabled" and spec == "SYMMETRIC_DEFAULT"
            detail = f"KMS key {found.get('Arn')}"
            if not ok:
                detail += f" is {state} and of type {spec}; Manifold needs one that is Enabled and SYMMETRIC_DEFAULT"
        return KeyHealth(ok, detail, self._clock.monotonic() - begun)

    # --- requests -------------------------------------------------------------------------------------------------

    def _metadata(self, *, patient: bool) -> dict[str, Any]:
        key = self._options.key_id
        answer = self._call("DescribeKey", key, patient=patient, KeyId=key)
        found: dict[str, Any] = answer["KeyMetadata"]
        return found

    def _open(
        self, operation: str, wrapped: WrappedKey, context: KeyContext, parameters: dict[str, Any]
    ) -> dict[str, Any]:
        from manifold_common.adapters.kms.client import DoesNotOpen

        try:
            return self._call(operation, wrapped.key_name, **parameters)
        except DoesNotOpen:
            pass
        raise CorruptObject(_where(context), f"KMS key {wrapped.key_name} did not wrap it, or for another project")

    def _call(self, operation: str, key: str, *, patient: bool = True, **parameters: Any) -> dict[str, Any]:
        def ask() -> dict[str, Any]:
            """Ask, and once more if the credentials are refused and there are others by now."""
            account, client = self._client()
            try:
                return client.call(operation, key, **parameters)
            except KeyUnavailable as error:
                if error.details.get("reason") != "credentials":
                    raise
                account.forget()
                if self._accounts.instead_of(account) is None:
                    raise
            return self._client()[1].call(operation, key, **parameters)

        return retry(self._options.retries, self._clock, self._randomness, ask) if patient else ask()

    def _client(self) -> tuple[AwsAccount, KmsClient]:
        with self._lock:
            account = self._accounts.current
            if self._made is None or self._made[0] is not account:
                from manifold_common.adapters.kms.client import KmsClient

                self._made = account, KmsClient(self._options, account)
            return self._made

    # --- records --------------------------------------------------------------------------------------------------

    def _record(self, answer: dict[str, Any]) -> WrappedKey:
        record = WrappedKey(self.name, str(answer["KeyId"]), 0, bytes([_FORMAT]) + bytes(answer["CiphertextBlob"]))
        return record._replace(ciphertext=record.ciphertext + _checksum(record, record.ciphertext))

    def _read(self, wrapped: WrappedKey, context: KeyContext) -> bytes:
        where = _where(context)
        if wrapped.provider != self.name:
            raise KeyUnavailable(
                f"{where} was wrapped by the provider {wrapped.provider!r}, not {self.name!r}",
                hint="set encryption.provider to it, or configure it beside this one",
            )
        data = wrapped.ciphertext
        if len(data) < _SHORTEST or data[-4:] != _checksum(wrapped, data[:-4]):
            raise CorruptObject(where, "its bytes were changed or cut short")
        if data[0] != _FORMAT:
            raise CorruptObject(where, f"it is of format {data[0]}, which this version of Manifold does not know")
        if region_of(wrapped.key_name) is None or wrapped.key_version != 0:
            raise CorruptObject(where, "what it names cannot be a KMS key")
        return data[1:-4]


def _bound(context: KeyContext) -> dict[str, str]:
    """Return the encryption context. AWS writes it in the clear into CloudTrail: it holds ids, never names."""
    bound = {
        "manifold:record": f"wrapped key {context.version}",
        "manifold:tenant": context.tenant,
        "manifold:project": context.project,
        "manifold:dek": context.dek,
    }
    return bound | {"manifold:epoch": str(context.epoch)} if context.epoch else bound


def _where(context: KeyContext) -> str:
    return f"wrapped key {context.dek} of project {context.tenant}/{context.project}"


def _checksum(record: WrappedKey, body: bytes) -> bytes:
    named = f"{record.provider}\0{record.key_name}\0{record.key_version}\0".encode(errors="surrogatepass")
    return zlib.crc32(body, zlib.crc32(named)).to_bytes(4, "big")
