"""Only Manifold's settings decide what is sent. Libraries read variables of their own, which must not count."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import obstore
import pytest
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES, DEFAULT_S3_CONFIG_VARS
from manifold_common.adapters.aws.account import ChainedAccount
from manifold_common.adapters.aws.secret import read_secret
from manifold_common.adapters.aws.service import AwsOptions
from manifold_common.adapters.kms.options import KmsOptions
from manifold_common.adapters.kms.provider import KmsKeyProvider
from manifold_common.adapters.s3.bucket import prepare_bucket
from manifold_common.adapters.s3.links import S3Links
from manifold_common.adapters.s3.object_store import S3ObjectStore
from manifold_common.adapters.s3.options import S3Options
from manifold_common.adapters.system.clock import SystemClock, SystemRandomness
from manifold_common.adapters.vault.options import TokenSignIn, VaultOptions
from manifold_common.adapters.vault.provider import VaultKeyProvider
from manifold_common.errors import ManifoldError, StoreUnavailable
from manifold_common.ports.aws_account import AwsKeys
from manifold_common.ports.credentials import Fixed
from manifold_common.ports.object_store import ObjectStore
from manifold_common.ports.retry import RetryPolicy

from tests.support.odd_server import Asked, OddServer, odd_server

KEYS = AwsKeys("AKIDEXAMPLE", "secret", "token")
_CHANGES = re.compile(r"(?<=Signature=)[0-9a-f]+|(?<=AKIDEXAMPLE/)\d{8}|(?<=Expires=)\d+")
_OWN = {"x-amz-date", "amz-sdk-invocation-id", "user-agent"}


def variables_of_obstore() -> set[str]:
    """Every option that its types declare, and the other names that it has for some."""
    stubs = Path(obstore.__file__).parent / "_store"
    found = {
        f"AWS_{field.target.id.upper()}"
        for file, name in (("_aws.pyi", "S3Config"), ("_client.pyi", "ClientConfig"))
        for node in ast.parse((stubs / file).read_text()).body
        if isinstance(node, ast.ClassDef) and node.name == name
        for field in node.body
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
    }
    found |= {name.removeprefix("AWS_") for name in found if name.startswith("AWS_AWS_")}
    documented = set(re.findall(r"`(AWS_[A-Z0-9_]+)`", (stubs / "_aws.pyi").read_text()))
    more = {"ENDPOINT", "ENDPOINT_URL", "ENDPOINT_URL_STS", "TOKEN", "BUCKET_NAME", "DISABLE_SYSTEM_CERTIFICATES"}
    return found | documented | {f"AWS_{name}" for name in more} | {"AWS_HTTP2_MAX_FRAME_SIZE"}


def variables_of_botocore() -> set[str]:
    rows = [*BOTOCORE_DEFAUT_SESSION_VARIABLES.values(), *DEFAULT_S3_CONFIG_VARS.values()]
    named = {name for row in rows for name in ([row[1]] if isinstance(row[1], str) else row[1] or [])}
    services = {f"AWS_ENDPOINT_URL_{name}" for name in ("S3", "KMS", "SQS", "SECRETS_MANAGER", "STS")}
    return named | services | {"AWS_ENDPOINT_URL", "BOTO_CONFIG", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


VARIABLES_OF_OTHERS = {
    "ALL_PROXY", "CURL_CA_BUNDLE", "HTTPS_PROXY", "HTTP_PROXY", "REQUESTS_CA_BUNDLE", "VAULT_ADDR", "VAULT_CACERT",
    "VAULT_CAPATH", "VAULT_NAMESPACE", "VAULT_SKIP_VERIFY", "VAULT_TOKEN", "all_proxy", "http_proxy", "https_proxy",
}  # fmt: skip


@pytest.fixture
def server() -> Iterator[OddServer]:
    with odd_server() as server:
        server.answer(200, b"data", etag="e", last_modified="Mon, 01 Jan 2024 00:00:00 GMT")
        yield server


@pytest.fixture
def trap() -> Iterator[OddServer]:
    """Where the variables lead."""
    with odd_server() as trap:
        yield trap
        assert trap.asked == []


def s3(server: OddServer) -> S3Options:
    return S3Options(
        "bucket",
        endpoint=server.url,
        access_key_id=KEYS.access_key_id,
        secret_access_key=KEYS.secret_access_key,
        session_token=KEYS.session_token,
        checksum=None,
        retries=RetryPolicy(attempts=1),
    )


def use_store(server: OddServer) -> None:
    store: ObjectStore = S3ObjectStore(s3(server), clock=SystemClock(), randomness=SystemRandomness())
    store.put("k", b"data", if_absent=True)
    store.get("k", max_bytes=10)


def use_whole_store(server: OddServer) -> None:
    use_store(server)
    store = S3ObjectStore(s3(server), clock=SystemClock(), randomness=SystemRandomness())
    store.put("k", b"data")
    for ask in (lambda: store.get_ranges("k", [(0, 1)]), lambda: list(store.list("p"))):
        with pytest.raises(ManifoldError):
            ask()
    store.delete(["k"])
    store.head("k")


def use_bucket(server: OddServer) -> None:
    with pytest.raises(StoreUnavailable):  # which has no rules, and does not say so
        prepare_bucket(s3(server), ChainedAccount(KEYS))


def use_kms(server: OddServer) -> None:
    options = KmsOptions("alias/key", region="eu-central-1", endpoint=server.url, attempts=1)
    provider = KmsKeyProvider(options, Fixed(ChainedAccount(KEYS)), clock=SystemClock(), randomness=SystemRandomness())
    assert not provider.health().ok


def use_secret(server: OddServer) -> None:
    with pytest.raises(ManifoldError):
        read_secret("id", AwsOptions("eu-central-1", ChainedAccount(KEYS), server.url), clock=SystemClock())


def use_vault(server: OddServer) -> None:
    options = VaultOptions(server.url, "key", TokenSignIn("the-token"), attempts=1)
    assert not VaultKeyProvider(options, clock=SystemClock(), randomness=SystemRandomness()).health().ok


CLIENTS: dict[str, Callable[[OddServer], None]] = {
    "store": use_whole_store,
    "bucket": use_bucket,
    "kms": use_kms,
    "secret": use_secret,
    "vault": use_vault,
}


def requests_of(use: Callable[[OddServer], None], server: OddServer) -> list[tuple[str, str, dict[str, str]]]:
    server.asked.clear()
    use(server)
    assert server.asked
    return [plain(asked) for asked in server.asked]


def plain(asked: Asked) -> tuple[str, str, dict[str, str]]:
    """Without what differs between any two requests."""
    return asked.method, asked.path, {k: _CHANGES.sub("*", v) for k, v in asked.headers.items() if k not in _OWN}


def test_the_variables_are_those_of_the_libraries() -> None:
    assert {"AWS_SKIP_SIGNATURE", "AWS_ENDPOINT_URL_S3", "AWS_PROXY_URL", "AWS_S3_EXPRESS"} <= variables_of_obstore()
    assert {"AWS_MAX_ATTEMPTS", "AWS_CA_BUNDLE", "AWS_USE_FIPS_ENDPOINT"} <= variables_of_botocore()
    assert len(variables_of_obstore()) > 50


@pytest.mark.parametrize("nasty", ["true", "nonsense \t"])
@pytest.mark.parametrize("variable", sorted(variables_of_obstore()))
def test_no_variable_of_obstore_changes_a_request(
    server: OddServer, monkeypatch: pytest.MonkeyPatch, variable: str, nasty: str
) -> None:
    usual = requests_of(use_store, server)
    monkeypatch.setenv(variable, nasty)
    assert requests_of(use_store, server) == usual


@pytest.mark.parametrize("name", CLIENTS)
def test_all_variables_together_change_no_request(
    server: OddServer, trap: OddServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    usual = requests_of(CLIENTS[name], server)
    for variable in variables_of_obstore() | variables_of_botocore() | VARIABLES_OF_OTHERS:
        address = "URL" in variable or "ENDPOINT" in variable or "ADDR" in variable or "proxy" in variable.lower()
        monkeypatch.setenv(variable, trap.url if address else "true")
    home = tmp_path / "home"
    (home / ".aws").mkdir(parents=True)
    (home / ".aws/config").write_text(f"[default]\nendpoint_url = {trap.url}\nregion = xx-west-9\n")
    (home / ".netrc").write_text("machine 127.0.0.1 login someone password hunter2\n")
    (home / ".vault-token").write_text("another-token")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("AWS_CONFIG_FILE")
    for name_of_none in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name_of_none, raising=False)
    assert requests_of(CLIENTS[name], server) == usual


def test_links_are_those_of_the_settings(server: OddServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in variables_of_obstore() | variables_of_botocore():
        monkeypatch.setenv(variable, "true")
    links = S3Links(s3(server))
    (url,) = links.to_read(["k"], seconds=60)
    assert url.startswith(f"{server.url}/bucket/k?")
    assert "X-Amz-Signature" in url
    assert "AKIDEXAMPLE" in links.to_create("k", 1, seconds=60).url


def test_aws_itself_is_found_by_the_settings_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    options = S3Options("bucket", region="eu-west-1", access_key_id="k", secret_access_key="s", use_path_style=False)
    (url,) = S3Links(options).to_read(["k"], seconds=60)
    assert url.startswith("https://bucket.s3.eu-west-1.amazonaws.com/k?")
