"""Where the credentials for AWS, and for services that are compatible with it, come from: one chain for everything."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol


class AwsKeys(NamedTuple):
    access_key_id: str
    secret_access_key: str
    session_token: str | None = None

    def __repr__(self) -> str:
        return f"AwsKeys({self.access_key_id})"


class NoAwsKeys(Exception):
    """There are no credentials, or none that can be used. ``str()`` of it says why, and shows nothing of them."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.hint = hint


class AwsAccount(Protocol):
    """Thread-safe."""

    @property
    def lasting(self) -> bool:
        """Whether ``keys`` always returns the same."""

    def keys(self) -> AwsKeys:
        """Return credentials that are good now, and for some minutes yet.

        Raises:
            NoAwsKeys
        """

    def forget(self) -> None:
        """Look credentials up anew when they are next asked for: a server has refused those that were given."""

    def client(
        self, service: str, *, region: str | None, endpoint: str | None, verify: bool | str, **config: Any
    ) -> Any:
        """Return a client of botocore that signs with these credentials, whenever they were renewed. It takes nothing
        from variables and files, and goes through no proxy.

        Args:
            region: ``None``: that of the profile.
            endpoint: URL; ``None``: AWS's own.
            verify: whether the server's certificate is checked, or the file of the authorities to trust.
            config: of botocore's ``Config``.

        Raises:
            BotoCoreError, ValueError: it cannot be made. A call of the client raises ``NoAwsKeys`` too.
        """
