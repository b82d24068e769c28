"""The chain of credentials: keys of the settings, or else whatever botocore finds.

botocore's chain is that of the AWS tools: variables, profiles with their roles, SSO and ``credential_process``, web
identity, container and instance metadata. It renews credentials before they expire. Importing it costs 100 ms and more,
which a function with keys in its settings (Lambda puts them there) does not pay.
"""

from __future__ import annotations

import logging
import threading
from typing import Any, NoReturn

from manifold_common.ports.aws_account import AwsKeys, NoAwsKeys

_TRIED = "variables, profile, web identity, SSO, credential_process, container and instance metadata"
_HINT = "give keys in the settings, or AWS_PROFILE; 'aws sts get-caller-identity' in the same environment must succeed"


class ChainedAccount:
    """Implements the AwsAccount port."""

    def __init__(self, fixed: AwsKeys | None = None) -> None:
        """Args: ``fixed``: keys of the settings; ``None``: the chain's."""
        self._fixed = None if fixed is None else _checked(fixed, "the settings")
        self._lock = threading.Lock()
        self._found: Any = None

    def __repr__(self) -> str:
        return "ChainedAccount(of the settings)" if self._fixed else "ChainedAccount(of the environment)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an account holds credentials and is never pickled or copied")

    @property
    def lasting(self) -> bool:
        return self._fixed is not None

    def keys(self) -> AwsKeys:
        return self._fixed or self._from_chain()

    def forget(self) -> None:
        with self._lock:
            self._found = None

    def client(
        self, service: str, *, region: str | None, endpoint: str | None, verify: bool | str, **config: Any
    ) -> Any:
        from botocore.config import Config
        from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES, ConfigValueStore, ConstantProvider
        from botocore.session import Session

        _keep_secrets_out_of_logs()
        defaults = {name: ConstantProvider(row[2]) for name, row in BOTOCORE_DEFAUT_SESSION_VARIABLES.items()}
        for name in ("config_file", "credentials_file"):
            del defaults[name]
        session = Session()
        session.register_component("config_store", ConfigValueStore(defaults))
        session.register_component("credential_provider", _Resolver(self))
        return session.create_client(
            service,
            region_name=region or Session().get_config_variable("region"),
            endpoint_url=endpoint,
            verify=verify,
            config=Config(
                ignore_configured_endpoint_urls=True,
                use_fips_endpoint=False,
                use_dualstack_endpoint=False,
                proxies={},
                **config,
            ),
        )

    def _from_chain(self) -> AwsKeys:
        failed: str | None = None
        try:
            with self._lock:
                if self._found is None:
                    self._found = self._search()
                found = self._found
            frozen = found.get_frozen_credentials() if found is not None else None
        except Exception as error:  # a profile's process, its answer, a server of tokens: each fails in its own way
            # Of the error only names: botocore repeats what a process printed.
            failed = f"{getattr(error, 'kwargs', {}).get('provider') or 'the chain'}: {type(error).__name__}"
        if failed is not None:
            self.forget()
            raise NoAwsKeys(f"the AWS credentials cannot be had ({failed})", _HINT)
        if frozen is None or not frozen.access_key or not frozen.secret_key:
            raise NoAwsKeys(f"there are no AWS credentials: the settings have none, and {_TRIED} gave none", _HINT)
        return _checked(AwsKeys(frozen.access_key, frozen.secret_key, frozen.token or None), "the environment")

    def _search(self) -> Any:
        from botocore.session import Session

        _keep_secrets_out_of_logs()
        return Session().get_credentials()


class _Resolver:
    """What a session asks for credentials."""

    def __init__(self, account: ChainedAccount) -> None:
        self._account = account

    def load_credentials(self) -> _Renewed:
        return _Renewed(self._account)


class _Renewed:
    """Credentials as botocore's signers take them, looked up for each request."""

    method = "manifold"
    account_id = None

    def __init__(self, account: ChainedAccount) -> None:
        self._account = account

    def get_frozen_credentials(self) -> Any:
        from botocore.credentials import ReadOnlyCredentials

        return ReadOnlyCredentials(*self._account.keys())

    def get_deferred_property(self, _: str) -> None:
        """What is asked for is the account's number, which no client here needs."""


def _checked(keys: AwsKeys, origin: str) -> AwsKeys:
    for name, value in zip(keys._fields, keys, strict=True):
        if value is not None and not (value and value.isascii() and value.isprintable() and " " not in value):
            raise NoAwsKeys(
                f"the {name} of {origin} is empty, or has characters that no key has, such as a space or a line's end",
                "write it without quotes, spaces or a new line at its end",
            )
    return keys


def _keep_secrets_out_of_logs() -> None:
    """At level DEBUG botocore logs headers and bodies of requests and answers: credentials, and data keys in the
    clear."""
    logger = logging.getLogger("botocore")
    if logger.level < logging.INFO:
        logger.setLevel(logging.INFO)
