"""Sends one request to Vault, through hvac. Knows nothing of tokens' lives or of keys.

Importing this module imports hvac and requests (some 100 ms); the session does so when it first needs them.
"""

from __future__ import annotations

import json

import requests
from hvac.adapters import RawAdapter

from manifold_common.adapters.vault.confidential import Body, Secret
from manifold_common.adapters.vault.failures import Answer, Refusals
from manifold_common.adapters.vault.options import VaultOptions
from manifold_common.domain.patience import patience
from manifold_common.domain.retry_after import seconds_asked
from manifold_common.domain.wording import span
from manifold_common.errors import KeyUnavailable
from manifold_common.ports.clock import Clock
from manifold_common.ports.deadline import within

MAX_ANSWER_BYTES = 4 << 20
"""Transit answers for a batch of keys take some kilobytes each."""
_PIECE_BYTES = 64 << 10


class VaultClient:
    """Thread-safe. Reads nothing from the environment: no proxy, no certificates, no password of a ~/.netrc."""

    def __init__(self, options: VaultOptions, *, clock: Clock) -> None:
        self._clock = clock
        self._seconds = options.timeout_seconds
        self._refusals = Refusals(options)
        session = requests.Session()
        session.trust_env = False
        session.stream = True
        session.headers["Accept-Encoding"] = "identity"
        session.verify = (options.ca_file or True) if options.verify_tls else False
        session.cert = (options.cert_file, options.key_file) if options.cert_file and options.key_file else None
        # Not hvac.Client, which completes what is not given from VAULT_* variables and ~/.vault-token.
        self._adapter = RawAdapter(
            base_uri=options.address.rstrip("/"),
            cert=session.cert,
            verify=session.verify,
            timeout=options.timeout_seconds,
            namespace=options.namespace,
            session=session,
            # A redirect would carry the token to wherever an answer says. Standby nodes forward requests themselves.
            allow_redirects=False,
        )

    def send(self, method: str, path: str, body: Body | None = None, *, token: Secret | None = None) -> Answer:
        """Return the answer, whatever its status, within the time-out.

        Raises:
            KeyUnavailable: there was none, or it was not of Vault. Nothing that was sent or answered is named,
                and no foreign exception hangs on it, since those hold the request with its token.
        """
        seconds = patience(self._seconds)
        try:
            outcome = within(seconds, lambda: self._exchange(method, path, body, token))
        except TimeoutError:
            outcome = self._refusals.unreachable(f"no answer within {span(seconds)}", passing=True)
        if isinstance(outcome, KeyUnavailable):
            raise outcome.with_traceback(None)
        return outcome

    def _exchange(self, method: str, path: str, body: Body | None, token: Secret | None) -> Answer | KeyUnavailable:
        headers = {"X-Vault-Token": token.reveal()} if token else {}
        try:
            response = self._adapter.request(
                method, f"/v1/{path}", headers=headers, raise_exception=False, **({"json": body} if body else {})
            )
        except requests.exceptions.SSLError:
            return self._refusals.tls("the certificate of one side is not accepted, or it does not speak TLS")
        except requests.exceptions.Timeout:
            return self._refusals.unreachable(f"no answer within {span(self._seconds)}", passing=True)
        except (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError):
            return self._refusals.unreachable("it cannot be connected to, or broke the connection", passing=True)
        except requests.exceptions.RequestException as error:
            return self._refusals.unreachable(f"the request cannot be made ({type(error).__name__})", passing=False)
        except OSError:
            return self._refusals.tls("a file of vault.tls cannot be read")
        with response:
            try:
                content = _bounded(response)
            except requests.exceptions.Timeout:
                return self._refusals.unreachable(f"no answer within {span(self._seconds)}", passing=True)
            except requests.exceptions.RequestException:
                return self._refusals.unreachable("it broke the connection", passing=True)
        return self._read(response, content, path)

    def _read(self, response: requests.Response, content: bytes | None, path: str) -> Answer | KeyUnavailable:
        try:
            data = None if content is None else json.loads(content) if content else {}
        except (ValueError, RecursionError):
            data = None
        status = response.status_code
        asked = seconds_asked(response.headers.get("Retry-After"), self._clock.now())
        data = data if isinstance(data, dict) else None
        errors = data.get("errors") if data is not None else None
        # A load balancer answers for a Vault that is down with a page of its own.
        if data is None and (status == 429 or status >= 500 or 300 <= status < 400):
            return Answer(status, Body(), "", asked)
        if data is None or (400 <= status < 500 and status != 429 and not isinstance(errors, list)):
            return self._refusals.not_understood(path, status)
        said = " ".join(map(str, errors)).lower() if isinstance(errors, list) else ""
        return Answer(status, Body(data), said, asked)


def _bounded(response: requests.Response) -> bytes | None:
    """Return what was answered; ``None``: more than Vault ever answers. Raises RequestException."""
    content = bytearray()
    for piece in response.iter_content(_PIECE_BYTES):
        content += piece
        if len(content) > MAX_ANSWER_BYTES:
            return None
    return bytes(content)
