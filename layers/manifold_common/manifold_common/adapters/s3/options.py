"""What the S3 store needs to know about its bucket."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from manifold_common.domain.object_key import check_folder
from manifold_common.errors import ConfigError, InvalidInput
from manifold_common.ports.aws_account import AwsAccount, AwsKeys, NoAwsKeys
from manifold_common.ports.retry import RetryPolicy

MAX_PREFIX_BYTES = 200
_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}")
_REGION = re.compile(r"[A-Za-z0-9._-]{1,64}")
_WORD = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class S3Options:
    """Checked when made.

    Raises:
        ConfigError: a value cannot work. Never shows a secret.
    """

    bucket: str
    prefix: str = ""
    """A folder within the bucket, below which all objects stand."""
    endpoint: str | None = None
    """``http(s)://host[:port]``; ``None`` is AWS."""
    region: str = "us-east-1"
    use_path_style: bool = True
    """``https://host/bucket`` rather than ``https://bucket.host``."""
    access_key_id: str | None = None
    """Of this bucket alone. Without it those of ``account`` are used."""
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    account: AwsAccount | None = field(default=None, repr=False)
    ca_certificates: str | None = field(default=None, repr=False)
    """PEM text of authorities to trust besides the system's."""
    verify_tls: bool = True
    connect_timeout_seconds: float = 5.0
    request_timeout_seconds: float = 60.0
    """For one attempt, from connecting to the last byte of the body. 60 s carry 16 MiB at 0.3 MB/s."""
    health_timeout_seconds: float = 5.0
    retries: RetryPolicy = field(default_factory=RetryPolicy)
    max_connections: int = 128
    """Requests under way at the same time, besides the look at the server's health. Eight reads of ten ranges each are
    80: then there is some room for others."""
    checksum: Literal["CRC64NVME", "SHA256"] | None = "CRC64NVME"
    """Sent with each put, so that the server refuses bytes damaged on the way."""
    sign_payload: bool = False
    """Sign the SHA-256 of each body as well. Measured for 16 MiB: a put takes 4 ms of this machine's CPU bare, 5 with
    CRC64NVME, 14 signed. TLS and the sealed format protect the bytes without it."""
    server_side_encryption: Literal["AES256", "aws:kms"] | None = None
    """What the server is asked to do with each object, on top of Manifold's own encryption."""
    kms_key_id: str | None = None
    """For ``aws:kms``; ``None`` is the account's default key."""
    bulk_delete: bool = True
    """Delete up to 1,000 objects a request, where ``checksum`` is not ``None``: such a request has to have one. Some
    compatible stores cannot."""

    def __post_init__(self) -> None:
        if not _BUCKET.fullmatch(self.bucket):
            raise ConfigError(f"s3.bucket: {self.bucket!r} is not the name of a bucket", hint="give the bare name")
        try:
            folder = check_folder(self.prefix)
        except InvalidInput as error:
            raise ConfigError(f"s3.prefix: {self.prefix!r} is not a folder of keys", hint=error.hint) from None
        if len(folder) > MAX_PREFIX_BYTES:
            raise ConfigError(f"s3.prefix: it is longer than {MAX_PREFIX_BYTES} bytes", hint="choose a shorter one")
        if not _REGION.fullmatch(self.region):
            raise ConfigError(f"s3.region: {self.region!r} is not the name of a region", hint="such as us-east-1")
        if self.endpoint is not None:
            _check_endpoint(self.endpoint)
            if not self.use_path_style and _is_address(self.endpoint):
                raise ConfigError(
                    "s3.endpoint is an IP address, before which no bucket's name can stand",
                    hint="set projects.s3.usePathStyle (S3_USE_PATH_STYLE=true), or give the host's name",
                )
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ConfigError(
                "s3: one of accessKeyId and secretAccessKey is missing",
                hint="give both, or neither to use the credentials of the environment",
            )
        for name, value in (
            ("accessKeyId", self.access_key_id),
            ("secretAccessKey", self.secret_access_key),
            ("sessionToken", self.session_token),
            ("sseKmsKeyId", self.kms_key_id),
        ):
            if value is not None and not _WORD.fullmatch(value):
                raise ConfigError(
                    f"s3.{name} is empty, or has a space, a line's end or another character that none has",
                    hint="look for a new line at the end of the file or variable that it is taken from",
                )
        if self.kms_key_id is not None and self.server_side_encryption != "aws:kms":
            raise ConfigError("s3.sseKmsKeyId: it is used only with s3.sseMode aws:kms", hint="set both, or neither")
        if self.max_connections < 1:
            raise ConfigError("s3.maxConnections: it is below 1", hint="a request needs a connection")
        if min(self.connect_timeout_seconds, self.request_timeout_seconds, self.health_timeout_seconds) <= 0:
            raise ConfigError("s3: a timeout is not above 0 seconds", hint="every request is bounded in time")

    @property
    def url(self) -> str:
        """Of the server as obstore takes it: with the bucket's name in the host, where it belongs there."""
        parts = urlsplit(self.endpoint or _aws_endpoint(self.region))
        return f"{parts.scheme}://{'' if self.use_path_style else self.bucket + '.'}{parts.netloc}"

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def where(self) -> str:
        """The bucket, for messages."""
        return f"bucket {self.bucket!r} at {self.endpoint or f'AWS {self.region}'}"

    @property
    def lasting(self) -> bool:
        """Whether ``keys`` always returns the same."""
        return self.access_key_id is not None or (self.account is not None and self.account.lasting)

    @property
    def deletes_in_bulk(self) -> bool:
        """Whether many objects are deleted by one request."""
        return self.bulk_delete and self.checksum is not None

    @property
    def may_lend_a_token(self) -> bool:
        """Whether a session token may be sent to a server that is not AWS's own."""
        return self.endpoint is not None and (self.session_token is not None or self.access_key_id is None)

    def keys(self) -> AwsKeys:
        """Raises NoAwsKeys."""
        if self.access_key_id is not None and self.secret_access_key is not None:
            return AwsKeys(self.access_key_id, self.secret_access_key, self.session_token)
        if self.account is None:
            raise NoAwsKeys("there are no credentials", "set S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY")
        return self.account.keys()


def _aws_endpoint(region: str) -> str:
    return f"https://s3.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"


def _is_address(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname or ""
    return ":" in host or host.rpartition(".")[2].isdigit()


def _check_endpoint(endpoint: str) -> None:
    hint = "write http://host:port or https://host:port; user names and passwords do not belong here"
    try:
        parts = urlsplit(endpoint)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        raise ConfigError("s3.endpoint is not a URL", hint=hint) from None
    if parts.username is not None or parts.password is not None:
        raise ConfigError("s3.endpoint holds a user name or a password", hint=hint)
    if _is_address(endpoint):
        try:
            ipaddress.ip_address(parts.hostname or "")
        except ValueError:
            raise ConfigError(f"s3.endpoint: {parts.hostname!r} is not an IP address", hint=hint) from None
    plain = not (parts.path.strip("/") or "?" in endpoint or "#" in endpoint)
    printable = endpoint.isascii() and endpoint.isprintable() and " " not in endpoint
    if parts.scheme not in ("http", "https") or not (parts.hostname and plain and printable and port_is_fine):
        raise ConfigError(f"s3.endpoint: {endpoint!r} is not the URL of a server", hint=hint)
