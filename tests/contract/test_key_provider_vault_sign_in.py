"""How the Vault provider signs in, how long its tokens live, and that none of them is shown. Against a real OpenBao."""

from __future__ import annotations

import base64
import gc
import json
import logging
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from manifold_common.adapters.vault.options import (
    AppRoleSignIn,
    KubernetesSignIn,
    TokenSignIn,
)
from manifold_common.adapters.vault.provider import VaultKeyProvider
from manifold_common.errors import KeyUnavailable

from tests.contract.vault_fixtures import CONTEXT, KEY, MATERIAL, assert_says, failure_of, provider_for
from tests.support.certificates import Authority
from tests.support.openbao import POLICY, OpenBao
from tests.support.s3_proxy import Fault, S3Proxy, running_proxy

# --- signing in -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def approle(openbao: OpenBao) -> str:
    """The path of an AppRole method."""
    openbao.call("POST", "sys/auth/machines/approle", {"type": "approle"})
    return "machines/approle"


def make_role(server: OpenBao, approle: str, policy: str, name: str, **settings: Any) -> AppRoleSignIn:
    server.call("POST", f"auth/{approle}/role/{name}", {"token_policies": [policy], **settings})
    role = server.call("GET", f"auth/{approle}/role/{name}/role-id")["data"]["role_id"]
    secret = server.call("POST", f"auth/{approle}/role/{name}/secret-id", {})["data"]["secret_id"]
    return AppRoleSignIn(role, secret, approle)


def token_of(provider: VaultKeyProvider) -> str:
    grant = provider._session._grant
    assert grant is not None
    return grant.token.reveal()


def test_approle_signs_in(openbao: OpenBao, mount: str, policy: str, approle: str) -> None:
    provider = provider_for(openbao, make_role(openbao, approle, policy, "plain", token_ttl="1h"), mount)
    assert provider.unwrap(provider.wrap(MATERIAL, CONTEXT), CONTEXT) == MATERIAL
    assert "renewed in time" in provider.health().detail


def test_a_revoked_token_is_replaced_without_the_caller_noticing(
    openbao: OpenBao, mount: str, policy: str, approle: str
) -> None:
    provider = provider_for(openbao, make_role(openbao, approle, policy, "revoked"), mount)
    wrapped = provider.wrap(MATERIAL, CONTEXT)
    first = token_of(provider)
    openbao.revoke(first)
    assert provider.unwrap(wrapped, CONTEXT) == MATERIAL
    assert token_of(provider) != first


def test_threads_that_meet_a_dead_token_sign_in_once(openbao: OpenBao, mount: str, policy: str, approle: str) -> None:
    with running_proxy(openbao.url) as proxy:
        provider = provider_for(proxy.url, make_role(openbao, approle, policy, "crowd"), mount)
        wrapped = provider.wrap(MATERIAL, CONTEXT)
        openbao.revoke(token_of(provider))
        proxy.seen.clear()
        outcomes: list[bytes] = []
        threads = [
            threading.Thread(target=lambda: outcomes.append(provider.unwrap(wrapped, CONTEXT))) for _ in "12345678"
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert outcomes == [MATERIAL] * 8
        assert len([seen for seen in proxy.seen if seen.path.endswith("/login")]) == 1


def test_a_refused_sign_in_says_what_to_check(openbao: OpenBao, mount: str, policy: str, approle: str) -> None:
    good = make_role(openbao, approle, policy, "refused")
    for bad in (
        AppRoleSignIn(good.role_id, "00000000-not-a-secret-id", approle),
        AppRoleSignIn("00000000-not-a-role-id", good.secret_id, approle),
        AppRoleSignIn(good.role_id, good.secret_id, "not-mounted"),
    ):
        provider = provider_for(openbao, bad, mount)
        error = failure_of(lambda provider=provider: provider.wrap(MATERIAL, CONTEXT))  # type: ignore[misc]
        assert_says(error, "sign_in", "secretId", "vault auth list")
        assert bad.secret_id not in str(error)


def test_a_policy_that_forbids_is_not_taken_for_a_dead_token(openbao: OpenBao, mount: str, approle: str) -> None:
    """Signing in again would not help, and would make a token a request."""
    with running_proxy(openbao.url) as proxy:
        provider = provider_for(proxy.url, make_role(openbao, approle, "default", "powerless"), mount)
        for _ in range(3):
            assert_says(failure_of(lambda: provider.wrap(MATERIAL, CONTEXT)), "forbidden")
        assert len([seen for seen in proxy.seen if seen.path.endswith("/login")]) == 1


# --- the life of a token ----------------------------------------------------------------------------------------------


class Lives(NamedTuple):
    """Providers whose tokens all should have died, had they been left alone."""

    given: VaultKeyProvider
    limited: VaultKeyProvider
    batch: VaultKeyProvider
    first_tokens: dict[str, str]


@pytest.fixture(scope="module")
def lives(openbao: OpenBao, approle: str) -> Lives:
    """Made together, so that the tests wait once. A third of four seconds is what a busy machine may be late by."""
    mount = "transit-lives"
    openbao.mount_transit(mount)
    openbao.make_key(KEY, mount, derived=True)
    policy = openbao.make_policy(POLICY.format(mount=mount, key=KEY))
    limited = make_role(openbao, approle, policy, "limited", token_ttl="4s", token_max_ttl="6s")
    batch = make_role(openbao, approle, policy, "batch", token_type="batch", token_ttl="4s")
    providers = {
        "given": provider_for(openbao, openbao.make_token(policy, period="7s"), mount),
        "limited": provider_for(openbao, limited, mount),
        "batch": provider_for(openbao, batch, mount),
    }
    for provider in providers.values():
        provider.wrap(MATERIAL, CONTEXT)
    tokens = {name: token_of(provider) for name, provider in providers.items()}
    time.sleep(8.5)
    return Lives(**providers, first_tokens=tokens)


def has_living_token(openbao: OpenBao, provider: VaultKeyProvider) -> bool:
    """Look a few times: a token may end, on a busy machine, between the look at it and the question."""
    for _ in range(10):
        with suppress(HTTPError):
            return bool(openbao.lookup(token_of(provider)))
        time.sleep(0.3)
    return False


def test_a_token_is_renewed_while_nobody_asks(openbao: OpenBao, lives: Lives) -> None:
    assert token_of(lives.given) == lives.first_tokens["given"]
    assert has_living_token(openbao, lives.given)
    assert lives.given.health().ok


def test_before_a_token_reaches_its_longest_life_another_is_got(openbao: OpenBao, lives: Lives) -> None:
    assert token_of(lives.limited) != lives.first_tokens["limited"]
    assert has_living_token(openbao, lives.limited)
    assert lives.limited.health().ok


def test_a_token_that_cannot_be_renewed_is_replaced_where_one_can_sign_in(openbao: OpenBao, lives: Lives) -> None:
    assert token_of(lives.batch) != lives.first_tokens["batch"]
    assert has_living_token(openbao, lives.batch)
    assert lives.batch.health().ok


def test_health_tells_of_a_token_that_will_end(openbao: OpenBao, mount: str, policy: str) -> None:
    token = openbao.make_token(policy, ttl="90s", renewable=False)
    health = provider_for(openbao, token, mount).health()
    assert health.ok
    assert "cannot be renewed" in health.detail


def test_a_failed_renewal_does_not_fail_the_request(openbao: OpenBao, mount: str, policy: str, approle: str) -> None:
    with running_proxy(openbao.url) as proxy:
        sign_in = make_role(openbao, approle, policy, "stubborn", token_ttl="6s")
        provider = provider_for(proxy.url, sign_in, mount)
        wrapped = provider.wrap(MATERIAL, CONTEXT)
        grant = provider._session._grant
        assert grant is not None
        proxy.inject(Fault("status", 500), times=1)
        grant.refresh_at = 0.0  # due now
        assert provider.unwrap(wrapped, CONTEXT) == MATERIAL
        assert grant.refresh_at > 0, "it is put off"


def test_the_renewing_thread_ends_with_its_provider(openbao: OpenBao, mount: str, policy: str) -> None:
    before = threading.active_count()
    provider = provider_for(openbao, openbao.make_token(policy, period="1h"), mount)
    provider.wrap(MATERIAL, CONTEXT)
    assert "vault-token" in [thread.name for thread in threading.enumerate()]
    del provider
    gc.collect()
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert threading.active_count() <= before


# --- Kubernetes -------------------------------------------------------------------------------------------------------


class TokenReviews:
    """The one route of a Kubernetes API server that Vault asks: is this the token of a service account, and whose?"""

    def __init__(self, ca: str) -> None:
        self.ca = ca
        self.valid: set[str] = set()
        reviews = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                known = body["spec"]["token"] in reviews.valid
                user = {"username": "system:serviceaccount:work:manifold", "uid": "u-1", "groups": []}
                granted = {"authenticated": True, "user": user, "audiences": body["spec"].get("audiences", [])}
                status = granted if known else {"authenticated": False}
                data = json.dumps({**body, "status": status}).encode()
                self.send_response(201)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def configure(self, server: OpenBao) -> None:
        """Tell Vault where this is, and with which token to ask."""
        config = {
            "kubernetes_host": self.url,
            "kubernetes_ca_cert": self.ca,  # has to be there, though nothing here speaks TLS
            "token_reviewer_jwt": self.issue(0),
            "disable_local_ca_jwt": True,
        }
        server.call("POST", "auth/kubernetes/config", config)

    def issue(self, serial: int) -> str:
        """Return a new token of the service account."""
        claims = {
            "iss": "https://kubernetes.default.svc",
            "sub": "system:serviceaccount:work:manifold",
            "aud": ["vault"],
            "iat": int(time.time()) - 60,
            "nbf": int(time.time()) - 60,
            "exp": int(time.time()) + 3600,
            "jti": str(serial),
            "kubernetes.io": {"namespace": "work", "serviceaccount": {"name": "manifold", "uid": "u-1"}},
        }
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        parts = [json.dumps(part).encode() for part in ({"alg": "RS256", "typ": "JWT"}, claims)]
        signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
        signature = key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
        token = (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()
        self.valid.add(token)
        return token


@pytest.fixture
def kubernetes(openbao: OpenBao, policy: str, tmp_path: Path) -> Iterator[TokenReviews]:
    reviews = TokenReviews(Authority(tmp_path, "cluster").file.read_text())
    openbao.call("POST", "sys/auth/kubernetes", {"type": "kubernetes"})
    reviews.configure(openbao)
    role = {
        "bound_service_account_names": ["manifold"],
        "bound_service_account_namespaces": ["work"],
        "token_policies": [policy],
        "token_ttl": "1h",
    }
    openbao.call("POST", "auth/kubernetes/role/manifold", role)
    yield reviews
    openbao.call("DELETE", "sys/auth/kubernetes")
    reviews.server.shutdown()
    reviews.server.server_close()


def test_kubernetes_signs_in_with_the_token_that_the_file_has_now(
    openbao: OpenBao, mount: str, kubernetes: TokenReviews, tmp_path: Path
) -> None:
    jwt_file = tmp_path / "token"
    jwt_file.write_text(kubernetes.issue(1) + "\n")
    provider = provider_for(openbao, KubernetesSignIn("manifold", str(jwt_file)), mount)
    wrapped = provider.wrap(MATERIAL, CONTEXT)
    kubernetes.valid.clear()
    openbao.revoke(token_of(provider))
    error = failure_of(lambda: provider.unwrap(wrapped, CONTEXT))
    assert_says(error, "sign_in", "service account")
    jwt_file.write_text(kubernetes.issue(2) + "\n")
    kubernetes.configure(openbao)
    assert provider.unwrap(wrapped, CONTEXT) == MATERIAL


def test_a_missing_service_account_token_is_named(openbao: OpenBao, mount: str, tmp_path: Path) -> None:
    provider = provider_for(openbao, KubernetesSignIn("manifold", str(tmp_path / "token")), mount)
    assert_says(failure_of(lambda: provider.wrap(MATERIAL, CONTEXT)), "sign_in", str(tmp_path / "token"), "jwtFile")


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_no_secret_is_shown_by_anything(
    openbao: OpenBao, mount: str, policy: str, approle: str, vault_proxy: S3Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    """Errors with all that hangs on them and the variables of their frames, representations, logs that tell all."""
    caplog.set_level(logging.DEBUG)
    sign_in = make_role(openbao, approle, policy, "secretive", token_ttl="1h")
    token = openbao.make_token("default")
    shown: list[str] = []
    errors: list[BaseException] = []
    secrets = [sign_in.secret_id, token, base64.b64encode(MATERIAL).decode()]
    for method in (sign_in, TokenSignIn(token), AppRoleSignIn("wrong-role", sign_in.secret_id, approle)):
        provider = provider_for(vault_proxy.url, method, mount, timeout_seconds=0.2, attempts=2)
        for fault in (None, Fault("hang"), Fault("status", 500), Fault("drop"), Fault("status", 403), None):
            if fault is not None:
                vault_proxy.inject(fault, times=8)
            try:
                provider.unwrap(provider.wrap(MATERIAL, CONTEXT), CONTEXT)
            except KeyUnavailable as error:
                assert error.__traceback__ is not None
                errors.append(error.with_traceback(error.__traceback__.tb_next))  # without this test's own frame
            vault_proxy.calm()
            if provider._session._grant is not None:
                secrets.append(token_of(provider))
            shown += [repr(provider), repr(vars(provider)), repr(vars(provider._session)), repr(provider.health())]
    assert len(errors) >= 8
    for error in errors:
        assert error.__cause__ is None
        assert error.__context__ is None, "a foreign exception holds the request"
        shown += [repr(error), str(error), repr(vars(error))]
        shown += traceback.TracebackException.from_exception(error, capture_locals=True).format()
    text = "\n".join([*shown, caplog.text])
    assert "path = 'auth/machines/approle/login'" in text, "the frames are looked at"
    assert not [secret for secret in secrets if secret in text]
