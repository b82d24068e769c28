"""Secrets that are replaced while a container lives: what was refused is done once more with what the secret holds by
now, and a secret that holds nothing new is not asked for at every call."""

from __future__ import annotations

import gc
import json
import secrets as random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import pytest
from manifold_common.adapters.webhook.signature import sign
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.settings import source
from manifold_local.embedded.stack.seaweedfs import S3Endpoint

from functions.invocation import container
from tests.support.functions import Function, MakeFunction, sample
from tests.support.kafka import KafkaBroker
from tests.support.openbao import OpenBao
from tests.support.postgres import PasswordRole, direct_dsn, with_database
from tests.support.redis import RedisServer
from tests.support.secrets_manager import Secrets
from tests.support.webhooks import Request, WebhookEndpoint


@dataclass
class Rotating:
    """A warm container whose secret can be replaced."""

    function: Function
    secrets: Secrets
    variables: dict[str, str]
    fields: dict[str, str]

    def put(self, **fields: str) -> None:
        self.fields |= fields
        self.secrets.replace(self.variables, json.dumps(self.fields))

    def commit(self, text: str = "a") -> dict[str, Any]:
        changes = [{"op": "put", "path": "a.txt", "text": text}]
        answer: dict[str, Any] = self.function("commit", {"project": "works", "changes": changes, "errors": "return"})
        return answer

    def reads(self, work: Callable[[], object]) -> int:
        """Return how often ``work`` made the function read its secret."""
        before = self.secrets.reads
        work()
        return self.secrets.reads - before


class MakeRotating(Protocol):
    def __call__(self, fields: dict[str, str], /, **variables: str) -> Rotating: ...


@pytest.fixture
def rotating(make_function: MakeFunction, secrets: Secrets) -> MakeRotating:
    """Return a function that gives a container, by the fields of its secret and by its variables."""

    def make(fields: dict[str, str], /, **variables: str) -> Rotating:
        found = secrets.store(json.dumps(fields))
        blank = dict.fromkeys(fields, "")
        return Rotating(make_function(**{**blank, **found, **variables}), secrets, found, dict(fields))

    return make


def post_project(made: Rotating) -> dict[str, Any]:
    answer: dict[str, Any] = made.function("api", sample("http-post", body='{"name": "works"}', isBase64Encoded=False))
    return answer


def create_project(made: Rotating) -> None:
    answer = post_project(made)
    assert answer["statusCode"] == 201, answer


def make_event_of_fanout(made: Rotating) -> None:
    """Start the container as the fan-out's, whose secret no other function may have, and give it something to do."""
    made.function("fanout", {})
    made.function.manifold.projects.create(LOCAL_PRINCIPAL, "works")


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "PAUSE_SECONDS", 0.0)


# --- PostgreSQL -------------------------------------------------------------------------------------------------------


def test_a_warm_container_goes_on_with_the_new_password_of_its_database(
    rotating: MakeRotating, password_role: PasswordRole
) -> None:
    made = rotating({"DATABASE_URL": password_role.rotate("first")})
    create_project(made)
    assert made.commit("a")["generation"] == 1
    made.put(DATABASE_URL=password_role.rotate("second"))
    assert made.reads(lambda: made.commit("b")) == 1
    made.put(DATABASE_URL=password_role.rotate("third"))
    assert made.commit("c")["generation"] == 3
    assert made.reads(lambda: made.commit("d")) == 0


def test_a_role_that_may_do_nothing_any_more_is_replaced_in_the_midst_of_its_connections(
    rotating: MakeRotating, password_role: PasswordRole, postgres_dsn: str
) -> None:
    made = rotating({"DATABASE_URL": password_role.rotate("first")})
    create_project(made)
    assert password_role.sessions() > 0
    password_role.forbid()
    made.put(DATABASE_URL=direct_dsn(postgres_dsn))
    assert made.commit()["generation"] == 1
    assert made.reads(lambda: made.commit("b")) == 0
    assert password_role.sessions() == 0, "what was signed in with the old secret is closed"


def test_a_secret_that_holds_nothing_new_is_not_read_at_every_call(
    rotating: MakeRotating, password_role: PasswordRole, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = rotating({"DATABASE_URL": password_role.rotate("first")})
    create_project(made)
    second = password_role.rotate("second")
    outcomes: list[str] = []
    assert made.reads(lambda: outcomes.extend(made.commit()["error"]["code"] for _ in range(4))) == 1
    assert outcomes == ["catalog_unavailable"] * 4
    made.put(DATABASE_URL=second)
    clock = made.function.manifold.context.clock
    monkeypatch.setattr(clock, "monotonic", lambda now=clock.monotonic: now() + source.PAUSE_SECONDS)
    assert made.commit("b")["generation"] == 1


def test_a_secret_that_names_another_database_does_not_change_the_one_of_a_warm_container(
    rotating: MakeRotating, password_role: PasswordRole, no_pause: None
) -> None:
    made = rotating({"DATABASE_URL": password_role.rotate("first")})
    create_project(made)
    second = password_role.rotate("second")
    elsewhere = with_database(second, "postgres")
    made.put(DATABASE_URL=elsewhere)
    assert made.commit()["error"]["code"] == "catalog_unavailable"
    made.put(DATABASE_URL=second)
    assert made.commit()["generation"] == 1


def test_a_secret_that_cannot_be_read_or_used_leaves_what_was_read_before(
    rotating: MakeRotating, password_role: PasswordRole, no_pause: None, capsys: pytest.CaptureFixture[str]
) -> None:
    made = rotating({"DATABASE_URL": password_role.rotate("first")})
    create_project(made)
    second = password_role.rotate("second")
    for broken in ("hunter2", "[]", '{"DATABASE_URL": "postgresql://u:hunter2@x@h/d"}'):
        made.secrets.replace(made.variables, broken)
        assert made.commit()["error"]["code"] == "catalog_unavailable"
    made.put(DATABASE_URL=second)
    assert made.commit()["generation"] == 1
    said = "".join(capsys.readouterr())
    assert "the settings cannot be read again" in said and "hunter2" not in said


# --- Vault ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def vault(openbao: OpenBao, transit_mount: str) -> dict[str, str]:
    """The variables of a container whose keys are in Vault, and asked for each time."""
    openbao.make_key("kek", transit_mount, derived=True)
    return {
        "PROJECTS_ENCRYPTION_PROVIDER": "vault",
        "PROJECTS_ENCRYPTION_DEK_CACHE_SECONDS": "0",
        "VAULT_ADDR": openbao.url,
        "VAULT_MOUNT_PATH": transit_mount,
        "VAULT_KEY_NAME": "kek",
    }


def test_a_warm_container_goes_on_with_the_new_token_of_vault(
    rotating: MakeRotating, openbao: OpenBao, transit_mount: str, vault: dict[str, str]
) -> None:
    policy = openbao.make_least_policy(transit_mount, "kek")
    token = openbao.make_token(policy)
    made = rotating({"VAULT_TOKEN": token}, **vault)
    create_project(made)
    assert made.commit("a")["generation"] == 1
    openbao.revoke(token)
    made.put(VAULT_TOKEN=openbao.make_token(policy))
    assert made.reads(lambda: made.commit("b")) == 1
    assert made.commit("c")["generation"] == 3


def test_a_token_that_may_do_too_little_is_replaced_by_one_that_may(
    rotating: MakeRotating,
    openbao: OpenBao,
    transit_mount: str,
    vault: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = rotating({"VAULT_TOKEN": openbao.make_token("default")}, **vault)
    outcomes: list[int] = []
    assert made.reads(lambda: outcomes.extend(post_project(made)["statusCode"] for _ in range(3))) == 2, "to start, too"
    assert outcomes == [503] * 3
    made.put(VAULT_TOKEN=openbao.make_token(openbao.make_least_policy(transit_mount, "kek")))
    monkeypatch.setattr(made.function.manifold.settings.source, "_quiet_until", 0.0)
    create_project(made)


def test_a_warm_container_signs_in_to_vault_with_the_new_secret_id_of_its_role(
    rotating: MakeRotating, openbao: OpenBao, transit_mount: str, vault: dict[str, str]
) -> None:
    mount = f"approle-{random.token_hex(4)}"
    openbao.call("POST", f"sys/auth/{mount}", {"type": "approle"})
    openbao.call(
        "POST", f"auth/{mount}/role/app", {"token_policies": [openbao.make_least_policy(transit_mount, "kek")]}
    )
    role_id = openbao.call("GET", f"auth/{mount}/role/app/role-id")["data"]["role_id"]

    def secret_id() -> str:
        return str(openbao.call("POST", f"auth/{mount}/role/app/secret-id", {})["data"]["secret_id"])

    first = secret_id()
    made = rotating(
        {"VAULT_AUTH_ROLE_ID": role_id, "VAULT_AUTH_SECRET_ID": first},
        VAULT_AUTH_METHOD="approle",
        VAULT_AUTH_MOUNT_PATH=mount,
        **vault,
    )
    create_project(made)
    assert made.commit("a")["generation"] == 1
    openbao.call("POST", f"auth/{mount}/role/app/secret-id/destroy", {"secret_id": first})
    openbao.call("POST", f"sys/leases/revoke-prefix/auth/{mount}", {})
    made.put(VAULT_AUTH_SECRET_ID=secret_id())
    assert made.commit("b")["generation"] == 2


# --- what may fail without an error: it has to be found out all the same ----------------------------------------------


def test_a_warm_container_uses_redis_with_its_new_password(rotating: MakeRotating, redis_server: RedisServer) -> None:
    user = f"user-{random.token_hex(4)}"
    made = rotating(
        {"REDIS_PASSWORD": "first"}, REDIS_ENABLED="true", REDIS_ADDR=redis_server.addr, REDIS_USERNAME=user
    )

    def rotate(password: str) -> None:
        with redis_server.admin() as admin:
            rights = ["~*", "&*", "+@all"]
            admin.execute_command("ACL", "SETUSER", user, "reset", "on", f">{password}", *rights)
            admin.execute_command("CLIENT", "KILL", "USER", user)

    def announced() -> set[str | None]:
        with redis_server.admin() as admin:
            return {admin.get(name) for name in admin.keys(f"project:*:{project}:generation")}  # type: ignore[union-attr, misc]

    rotate("first")
    create_project(made)
    project = made.commit("a")["project"]
    assert announced() == {"1"}
    rotate("second")
    made.put(REDIS_PASSWORD="second")
    assert made.reads(lambda: made.commit("b")) == 1
    assert announced() == {"2"}


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_events_go_on_to_kafka_once_the_secret_says_how_to_sign_in(
    rotating: MakeRotating, kafka_broker: KafkaBroker, kafka_topic: str
) -> None:
    """The stand-in for Kafka lets in only whoever does not sign in, so that this is what the secret says in the end."""
    made = rotating(
        {"KAFKA_SASL_USERNAME": "ann", "KAFKA_SASL_PASSWORD": "old"},
        **kafka_broker.variables(kafka_topic) | {"KAFKA_TIMEOUT_SECONDS": "1", "PROJECTS_ENCRYPT": "false"},
    )
    make_event_of_fanout(made)
    made.put(KAFKA_SASL_USERNAME="", KAFKA_SASL_PASSWORD="")
    (sink,) = made.function("fanout", {})["sinks"].values()
    assert sink["taken"] == 1
    assert len(kafka_broker.events(kafka_topic)) == 1
    gc.collect()  # kafka-python leaves the sockets of sign-ins that failed to the garbage collector


def test_a_webhook_is_signed_with_the_new_key_once_the_endpoint_refuses_the_old_one(
    rotating: MakeRotating, webhook_endpoint: WebhookEndpoint
) -> None:
    made = rotating(
        {"WEBHOOKS_SECRET": "the key of before"}, WEBHOOKS_URLS=webhook_endpoint.url, PROJECTS_ENCRYPT="false"
    )

    def check(request: Request, _: object) -> int:
        timestamp = int(request.headers["webhook-timestamp"])
        right = sign(b"the key of by now", request.headers["webhook-id"], timestamp, request.body)
        return 204 if request.headers["webhook-signature"] == right else 401

    webhook_endpoint.answer = check
    make_event_of_fanout(made)
    made.put(WEBHOOKS_SECRET="the key of by now")
    (sink,) = made.function("fanout", {})["sinks"].values()
    assert sink["taken"] == 1 and len(webhook_endpoint.requests) == 2


# --- S3 ---------------------------------------------------------------------------------------------------------------


def test_a_warm_container_reaches_its_bucket_with_the_new_keys(rotating: MakeRotating, s3_endpoint: S3Endpoint) -> None:
    made = rotating(
        {"S3_ACCESS_KEY_ID": "AKIDOFBEFORE", "S3_SECRET_ACCESS_KEY": "of-before"},
        PROJECTS_BACKEND="s3",
        S3_ENDPOINT=s3_endpoint.url,
        S3_BUCKET=s3_endpoint.bucket,
        S3_PREFIX=f"rotation-{random.token_hex(4)}",
        S3_USE_PATH_STYLE="true",
    )
    made.function.manifold  # noqa: B018 - the container starts, with keys that are good no more
    made.put(S3_ACCESS_KEY_ID=s3_endpoint.access_key_id, S3_SECRET_ACCESS_KEY=s3_endpoint.secret_access_key)
    create_project(made)
    reads = made.reads(lambda: made.commit("a"))
    assert made.commit("b")["generation"] == 2
    assert reads <= 1
    assert s3_endpoint.access_key_id in made.function.manifold.links.to_read(["a"], seconds=60)[0]  # type: ignore[union-attr]


# --- starting ---------------------------------------------------------------------------------------------------------


def test_a_container_that_could_not_start_reads_a_secret_that_was_mended_and_not_more_often_than_it_may(
    rotating: MakeRotating, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = rotating({"DATABASE_URL": "", "LOG_LEVEL": "info"})

    def status() -> int:
        return int(made.function("api", sample("http-get"))["statusCode"])

    found: list[int] = []
    assert made.reads(lambda: found.extend(status() for _ in range(4))) == 1
    assert found == [500] * 4
    made.put(DATABASE_URL=postgres_dsn)
    monkeypatch.setattr(container, "_PAUSE_SECONDS", 0.0)
    assert status() == 200
