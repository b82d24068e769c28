"""A signed-in connection to Vault: gets a token, keeps it alive, and gets another when it dies.

A token is renewed when two thirds of its life have passed, by a thread that ends with the session and, should that be
late, by the next request. A token that cannot be renewed further is replaced by signing in anew, where the method
allows it. A request that is forbidden is repeated once if its token turns out to be dead, or if the settings hold
something else to sign in with by now.
"""

from __future__ import annotations

import math
import threading
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from manifold_common.adapters.vault.confidential import Body, Secret
from manifold_common.adapters.vault.failures import Answer, Refusals
from manifold_common.adapters.vault.options import AppRoleSignIn, KubernetesSignIn, SignIn, TokenSignIn, VaultOptions
from manifold_common.errors import KeyUnavailable
from manifold_common.ports.clock import Clock, Randomness
from manifold_common.ports.credentials import Credentials, Fixed
from manifold_common.ports.retry import Rest, RetryPolicy, retry

if TYPE_CHECKING:
    from manifold_common.adapters.vault.client import VaultClient

_RENEW_AFTER = 2 / 3
_SHORTEST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
_ONCE = RetryPolicy(attempts=1)


@dataclass(slots=True)
class _Grant:
    """One token and what is known of its life. Times are of the monotonic clock."""

    got_with: SignIn
    token: Secret
    renewable: bool
    expires_at: float
    """Infinite for a token that never expires, or whose life is not known."""
    refresh_at: float
    full_seconds: float
    """Its life when it was new to us; 0 if it has no end."""


class VaultSession:
    """Thread-safe. Makes its client, and signs in, when first used."""

    def __init__(
        self,
        options: VaultOptions,
        *,
        clock: Clock,
        randomness: Randomness,
        credentials: Credentials[SignIn] | None = None,
    ) -> None:
        """``credentials``: instead of the options' own, which are the ones to begin with."""
        self._options = options
        self._credentials = credentials or Fixed(options.sign_in)
        self._clock = clock
        self._randomness = randomness
        self._refusals = Refusals(options)
        self._rest = Rest(clock)
        self._lock = threading.RLock()
        self._made: VaultClient | None = None
        self._grant: _Grant | None = None
        self._failures = 0
        self._failure: KeyUnavailable | None = None
        self._stop = threading.Event()
        self._keeper: threading.Thread | None = None
        weakref.finalize(self, self._stop.set)

    def __repr__(self) -> str:
        return f"VaultSession({self._options.where!r}, {self._credentials.current.method})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a session with Vault is never pickled or copied")

    def request(self, method: str, path: str, body: Body | None = None, *, patient: bool = True) -> Answer:
        """Return an answer with a status of 200 to 299, 400 or 404.

        Args:
            patient: repeat the request while it fails for a passing reason.

        Raises:
            KeyUnavailable: any other outcome, told apart by ``details["reason"]``.
        """
        policy = self._options.retries if patient else _ONCE
        return retry(policy, self._clock, self._randomness, lambda: self._request(method, path, body))

    def token_facts(self) -> str:
        """Return what an operator should know of the token's life; empty when there is nothing to know."""
        with self._lock:
            grant = self._grant
            if grant is None or math.isinf(grant.expires_at):
                return ""
            left = max(0.0, grant.expires_at - self._clock.monotonic())
        if grant.renewable or not self._is_given():
            return f"its token has {left:.0f} s left and is renewed in time"
        return f"its token ends in {left:.0f} s and cannot be renewed"

    # --- requests -------------------------------------------------------------------------------------------------

    def _request(self, method: str, path: str, body: Body | None) -> Answer:
        before = self._grant
        grant = self._granted()
        answer = self._send(method, path, body, grant)
        if answer.status in (401, 403) and (self._is_given() or grant is before) and not self._is_alive(grant):
            grant = self._replace(grant, path)
            answer = self._send(method, path, body, grant)
        if answer.status in (401, 403):
            other = self._other_than(grant)
            if other is None:
                raise self._refusals.forbidden(path)
            answer = self._send(method, path, body, other)
        if answer.status in (401, 403):
            raise self._refusals.forbidden(path)
        if not answer.ok and answer.status not in (400, 404):
            raise self._refusals.not_understood(path, answer.status)
        return answer

    def _send(self, method: str, path: str, body: Body | None, grant: _Grant | None) -> Answer:
        if left := self._rest.left_seconds():
            raise self._refusals.resting(left)
        answer = self._client().send(method, path, body, token=grant.token if grant else None)
        failure = self._refusals.of_server(answer)
        if failure is not None:
            self._rest.note(answer.asked_seconds)
            raise failure
        return answer

    def _client(self) -> VaultClient:
        with self._lock:
            if self._made is None:
                from manifold_common.adapters.vault.client import VaultClient

                self._made = VaultClient(self._options, clock=self._clock)
            return self._made

    # --- tokens ---------------------------------------------------------------------------------------------------

    def _granted(self) -> _Grant:
        failures = self._failures
        with self._lock:
            if self._grant is None:
                if self._failure is not None and self._failures != failures:
                    raise self._failure  # of a sign-in that this thread waited for: it need not wait for its own too
                try:
                    self._adopt(self._sign_in())
                except KeyUnavailable as error:
                    self._failures += 1
                    self._failure = error
                    raise
                self._failure = None
            elif self._clock.monotonic() >= self._grant.refresh_at:
                self._refresh(self._grant)
            assert self._grant is not None
            return self._grant

    def _replace(self, dead: _Grant, path: str) -> _Grant:
        """Return another token than ``dead``. Raises KeyUnavailable when there can be none."""
        with self._lock:
            if self._grant is dead:
                if self._is_given():
                    other = self._other_than(dead)
                    if other is None:
                        raise self._refusals.token_dead(path)
                    return other
                self._adopt(self._sign_in())
            assert self._grant is not None
            return self._grant

    def _other_than(self, refused: _Grant) -> _Grant | None:
        """Return a token got with what the settings hold by now, ``None`` if that is what got the refused one."""
        with self._lock:
            if self._grant is not refused:
                return self._grant
            fresh = self._credentials.instead_of(refused.got_with)
            if fresh is None:
                return None
            self._adopt(self._sign_in_with(fresh))
            return self._grant

    def _is_given(self) -> bool:
        """Say whether the token comes from the settings, so that only they can have another."""
        return isinstance(self._credentials.current, TokenSignIn)

    def _is_alive(self, grant: _Grant) -> bool:
        """Every token may look itself up, unless its policies leave out Vault's ``default``."""
        return self._send("get", "auth/token/lookup-self", None, grant).ok

    def _sign_in(self) -> _Grant:
        shown = self._credentials.current
        try:
            return self._sign_in_with(shown)
        except KeyUnavailable as error:
            if error.details.get("reason") != "sign_in":
                raise
            fresh = self._credentials.instead_of(shown)
            if fresh is None:
                raise
        return self._sign_in_with(fresh)

    def _sign_in_with(self, method: SignIn) -> _Grant:
        if isinstance(method, TokenSignIn):
            token = Secret(method.token)
            answer = self._send("get", "auth/token/lookup-self", None, self._new_grant(method, token, False, 0))
            # When even that is forbidden, the request itself will tell whether the token is good.
            facts = answer.data.get("data") if answer.ok else None
            facts = facts if isinstance(facts, dict) else {}
            return self._new_grant(method, token, facts.get("renewable") is True, _seconds(facts.get("ttl")))
        answer = self._send("post", f"auth/{method.mount_path}/login", _login(method), None)
        if not answer.ok:
            raise self._refusals.sign_in(method.method, answer.status)
        auth = answer.data.get("auth")
        got = auth.get("client_token") if isinstance(auth, dict) else None
        if not isinstance(auth, dict) or not isinstance(got, str) or not got:
            raise self._refusals.not_understood(f"auth/{method.mount_path}/login", answer.status)
        renewable, seconds = auth.get("renewable") is True, _seconds(auth.get("lease_duration"))
        return self._new_grant(method, Secret(got), renewable, seconds)

    def _new_grant(self, method: SignIn, token: Secret, renewable: bool, lease_seconds: float) -> _Grant:
        now = self._clock.monotonic()
        if not lease_seconds:
            return _Grant(method, token, renewable, math.inf, math.inf, 0)
        can_change = renewable or not isinstance(method, TokenSignIn)
        refresh_at = now + lease_seconds * _RENEW_AFTER if can_change else math.inf
        return _Grant(method, token, renewable, now + lease_seconds, refresh_at, lease_seconds)

    def _adopt(self, grant: _Grant) -> None:
        self._grant = grant
        if self._keeper is None and math.isfinite(grant.refresh_at):
            self._keeper = threading.Thread(
                target=_keep_alive, args=(weakref.ref(self), self._stop), name="vault-token", daemon=True
            )
            self._keeper.start()

    def _refresh(self, grant: _Grant) -> None:
        """Renew or replace a token that is due. While it lives, a failure is put off, not raised."""
        try:
            self._adopt(self._renewed(grant))
        except KeyUnavailable:
            now = self._clock.monotonic()
            left = grant.expires_at - now
            if left <= 0 and not self._is_given():
                raise
            grant.refresh_at = now + min(max(left / 4, _SHORTEST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)

    def _renewed(self, grant: _Grant) -> _Grant:
        """Return a longer grant of the same token, or one of another. Raises KeyUnavailable when there is neither."""
        given = isinstance(grant.got_with, TokenSignIn)
        longer = self._prolonged(grant) if grant.renewable else None
        # A token near the end of its longest life is renewed for ever shorter times.
        if longer is not None and (given or longer.expires_at - self._clock.monotonic() >= grant.full_seconds / 2):
            return longer
        if given:
            raise self._refusals.token_dead("auth/token/renew-self")
        return self._sign_in()

    def _prolonged(self, grant: _Grant) -> _Grant | None:
        answer = self._send("post", "auth/token/renew-self", None, grant)
        auth = answer.data.get("auth") if answer.ok else None
        seconds = _seconds(auth.get("lease_duration")) if isinstance(auth, dict) else 0.0
        if not isinstance(auth, dict) or not seconds:
            return None
        longer = self._new_grant(grant.got_with, grant.token, auth.get("renewable") is True, seconds)
        longer.full_seconds = grant.full_seconds
        longer.refresh_at = max(longer.refresh_at, self._clock.monotonic() + _SHORTEST_PAUSE_SECONDS)
        return longer

    def tend(self) -> float | None:
        """Refresh the token if it is due; return the seconds until it is due again, ``None`` if it never is."""
        with self._lock:
            grant = self._grant
            if grant is None:
                return None
            if self._clock.monotonic() >= grant.refresh_at:
                try:
                    self._refresh(grant)
                except KeyUnavailable:  # nobody to tell: the next request finds out itself
                    grant.refresh_at = self._clock.monotonic() + _LONGEST_PAUSE_SECONDS
            assert self._grant is not None
            due = self._grant.refresh_at
            expired_for_good = self._grant.expires_at <= self._clock.monotonic() and self._is_given()
            if math.isinf(due) or expired_for_good:
                self._keeper = None
                return None
            return max(0.0, due - self._clock.monotonic())


def _keep_alive(reference: weakref.ref[VaultSession], stop: threading.Event) -> None:
    while True:
        session = reference()
        pause = session.tend() if session is not None else None
        del session  # or this thread alone would keep it
        if pause is None or stop.wait(max(pause, 0.05)):
            return


def _login(method: AppRoleSignIn | KubernetesSignIn) -> Body:
    if isinstance(method, AppRoleSignIn):
        return Body(role_id=method.role_id, secret_id=method.secret_id)
    try:
        with open(method.jwt_file, encoding="ascii", errors="strict") as file:
            return Body(role=method.role, jwt=file.read(65536).strip())
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a token"
    raise KeyUnavailable(
        f"the service account token {method.jwt_file} cannot be read: {reason}",
        hint="check vault.auth.jwtFile, and that the pod mounts its service account token",
        reason="sign_in",
    )


def _seconds(value: object) -> float:
    return float(value) if isinstance(value, int | float) and 0 < value < math.inf else 0.0
