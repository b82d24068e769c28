"""What the provider ``vault`` has to know."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from manifold_common.errors import ConfigError
from manifold_common.ports.retry import RetryPolicy

_KEY_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,126}[A-Za-z0-9_])?")
_MOUNT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,126}(/[A-Za-z0-9_-][A-Za-z0-9_.-]{0,126}){0,15}")


def is_key_name(name: str) -> bool:
    """Say whether Transit allows a key of this name. It then stands in a URL as it is."""
    return _KEY_NAME.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class TokenSignIn:
    """A token that was made for Manifold."""

    token: str = field(repr=False)
    method = "token"


@dataclass(frozen=True, slots=True)
class AppRoleSignIn:
    role_id: str
    secret_id: str = field(repr=False)
    mount_path: str = "approle"
    method = "approle"


@dataclass(frozen=True, slots=True)
class KubernetesSignIn:
    """The pod's service account. Its token is read anew at each sign-in, since Kubernetes replaces it."""

    role: str
    jwt_file: str
    mount_path: str = "kubernetes"
    method = "kubernetes"


SignIn = TokenSignIn | AppRoleSignIn | KubernetesSignIn


@dataclass(frozen=True, slots=True)
class VaultOptions:
    """Where Vault is and how to get in.

    Attributes:
        address: URL without a path, or with the prefix that a proxy puts before ``/v1``.
        key_name: Transit key that wraps new data keys.
        mount_path: of the Transit engine.
        timeout_seconds: longest wait for one request.
        verify_tls: check the server's certificate.
        ca_file: certificates that are trusted (PEM); unset: the system's.
        cert_file, key_file: client certificate and its key (PEM).
        attempts: of a request that fails for a passing reason, the first one included.
    """

    address: str
    key_name: str
    sign_in: SignIn
    mount_path: str = "transit"
    namespace: str | None = None
    timeout_seconds: float = 5.0
    verify_tls: bool = True
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    attempts: int = 4

    def __post_init__(self) -> None:
        """Raises ConfigError."""
        if not is_key_name(self.key_name):
            raise ConfigError(
                f"vault.keyName: {self.key_name[:80]!r} cannot be the name of a Transit key",
                hint="use letters, digits, and . _ - inside",
            )
        mounts = {"vault.mountPath": self.mount_path}
        if not isinstance(self.sign_in, TokenSignIn):
            mounts["vault.auth.mountPath"] = self.sign_in.mount_path
        for key, path in mounts.items():
            if not _MOUNT.fullmatch(path):
                raise ConfigError(
                    f"{key}: {path[:80]!r} cannot be the path of a mount",
                    hint="write it without slashes at its ends, for example transit or team/transit",
                )

    @property
    def retries(self) -> RetryPolicy:
        """No attempt begins later than one time-out after the first, so that a dead server costs two at most."""
        return RetryPolicy(attempts=self.attempts, budget_seconds=self.timeout_seconds, cap_seconds=1.0)

    @property
    def where(self) -> str:
        """The server, for messages."""
        return f"{self.address} (namespace {self.namespace})" if self.namespace else self.address
