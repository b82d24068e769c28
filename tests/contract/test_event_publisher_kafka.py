"""What only Kafka has: the topic, keys and partitions, TLS, and listening to what is said there."""

from __future__ import annotations

import gc
import json
import socket
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer
from manifold_common.adapters.kafka.generations import KafkaGenerations
from manifold_common.adapters.kafka.options import KafkaOptions
from manifold_common.adapters.kafka.publisher import KafkaPublisher
from manifold_common.bootstrap import build_generation_cache, build_relays
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.event import PROJECT_COMMIT, CloudEvent
from manifold_common.errors import Unavailable
from manifold_common.ids import ID_BYTES, Generation, ProjectId, TenantId, encode_id
from manifold_common.ports.event_publisher import Delivery, Outcome
from manifold_common.ports.generation_cache import Invalidation, Listener
from manifold_common.services.projects.edits import MakeFolder

from tests.contract.catalog_fixtures import NOW
from tests.contract.sinks.sink import closed_port
from tests.support.certificates import Authority
from tests.support.kafka import PASSWORD, USER, ApacheKafka, KafkaBroker
from tests.support.manifold import MakeManifold
from tests.support.tls_front import tls_front

TAKEN, FAILED = Delivery.TAKEN, Delivery.FAILED
DEADLINE_SECONDS = 30.0


def project_id(name: str) -> ProjectId:
    return ProjectId(encode_id(name.encode().ljust(ID_BYTES, b"-")))


def commit(project: str, generation: int, skills: int = 0, tenant: str = "acme") -> CloudEvent:
    data = {
        "tenant_id": tenant,
        "project_id": project_id(project),
        "generation": generation,
        "skills_generation": skills,
    }
    owner = TenantId(tenant), project_id(project)
    return CloudEvent(f"{project}-{generation}", PROJECT_COMMIT, *owner, Generation(generation), NOW, data)


def publish(options: KafkaOptions, *events: CloudEvent) -> list[Delivery]:
    with closing(KafkaPublisher(options)) as publisher:
        return [outcome.delivery for outcome in publisher.publish(events, seconds=20)]


# --- the topic ----------------------------------------------------------------------------------------------------


def test_the_topic_is_made_with_the_partitions_that_are_set(kafka_broker: KafkaBroker, kafka_topic: str) -> None:
    assert publish(kafka_broker.options(kafka_topic, partitions=5), commit("p", 1)) == [TAKEN]
    with kafka_broker.admin() as admin:
        (found,) = admin.describe_topics([kafka_topic])
    assert len(found["partitions"]) == 5


def test_a_topic_that_is_there_is_left_as_it_is(kafka_broker: KafkaBroker, kafka_topic: str) -> None:
    kafka_broker.make_topic(kafka_topic, partitions=2)
    assert publish(kafka_broker.options(kafka_topic, partitions=5), commit("p", 1)) == [TAKEN]
    with kafka_broker.admin() as admin:
        (found,) = admin.describe_topics([kafka_topic])
    assert len(found["partitions"]) == 2


def test_the_key_keeps_a_project_in_one_partition_and_spreads_projects(
    kafka_broker: KafkaBroker, kafka_topic: str
) -> None:
    events = [commit(f"p{number}", generation) for number in range(24) for generation in range(1, 4)]
    assert set(publish(kafka_broker.options(kafka_topic), *events)) == {TAKEN}
    places: dict[bytes, set[int]] = {}
    for record in kafka_broker.records(kafka_topic):
        places.setdefault(record.key, set()).add(record.partition)
    assert set(places) == {f"acme:{project_id(f'p{number}')}".encode() for number in range(24)}
    assert all(len(partitions) == 1 for partitions in places.values())
    assert set.union(*places.values()) == {0, 1, 2}


def test_one_broker_of_the_list_is_enough(kafka_broker: KafkaBroker, kafka_topic: str) -> None:
    options = replace(kafka_broker.options(kafka_topic), brokers=(f"127.0.0.1:{closed_port()}", kafka_broker.addr))
    assert publish(options, commit("p", 1)) == [TAKEN]


# --- getting in ---------------------------------------------------------------------------------------------------


def test_no_password_is_shown() -> None:
    options = KafkaOptions(("b:1",), "t", username="ann", password="hunter2")
    assert "hunter2" not in repr(options)


@pytest.mark.parametrize(
    ("more", "protocol"),
    [
        ({}, "PLAINTEXT"),
        ({"tls": True}, "SSL"),
        ({"username": "ann", "password": "x"}, "SASL_PLAINTEXT"),
        ({"tls": True, "username": "ann", "password": "x", "mechanism": "PLAIN"}, "SASL_SSL"),
    ],
)
def test_the_protocol_follows_from_tls_and_sign_in(more: dict[str, Any], protocol: str) -> None:
    arguments = KafkaOptions(("b:1",), "t", **more).client()
    assert arguments["security_protocol"] == protocol
    assert ("sasl_mechanism" in arguments) is protocol.startswith("SASL")
    assert ("ssl_context" in arguments) is protocol.endswith("SSL")


def test_a_certificate_file_that_cannot_be_read_is_a_failure_that_says_so(tmp_path: Path) -> None:
    options = KafkaOptions(("127.0.0.1:1",), "t", tls=True, ca_file=str(tmp_path / "absent.pem"))
    (outcome,) = KafkaPublisher(options).publish([commit("p", 1)], seconds=5)
    assert outcome.delivery is FAILED
    assert "FileNotFoundError" in outcome.reason


def test_a_broker_that_is_not_there_is_named() -> None:
    addr = f"127.0.0.1:{closed_port()}"
    (outcome,) = KafkaPublisher(KafkaOptions((addr,), "t", timeout_seconds=0.3)).publish([commit("p", 1)], seconds=5)
    assert outcome == Outcome(FAILED, f"{addr} cannot be connected to: Connection refused")


@pytest.mark.filterwarnings(r"ignore:unclosed <ssl\.SSLSocket:ResourceWarning")
def test_a_broker_behind_tls_is_trusted_by_its_certificate_and_shown_ours(tmp_path: Path, kafka_topic: str) -> None:
    authority, stranger = Authority(tmp_path, "authority"), Authority(tmp_path, "stranger")
    cert, key = authority.issue("broker")
    ours = dict(zip(("cert_file", "key_file"), map(str, authority.issue("client")), strict=True))
    target = closed_port()
    with tls_front(target, cert=cert, key=key, client_ca=authority.file) as port:
        broker = KafkaBroker(tmp_path, port=target, advertised_port=port)
        broker.start()
        try:
            options = replace(broker.options(kafka_topic), brokers=(f"127.0.0.1:{port}",))
            good = replace(options, tls=True, ca_file=str(authority.file), **ours)
            assert publish(good, commit("p", 1)) == [TAKEN]
            assert publish(replace(good, ca_file=None, verify_tls=False), commit("p", 2)) == [TAKEN]
            bad = replace(good, timeout_seconds=0.5)
            for change, said in (
                ({"ca_file": str(stranger.file)}, "is not trusted"),
                ({"cert_file": None, "key_file": None}, "does not let us in"),
                ({"tls": False}, "without TLS"),
            ):
                (outcome,) = KafkaPublisher(replace(bad, **change)).publish([commit("p", 3)], seconds=5)
                assert outcome.delivery is FAILED
                assert said in outcome.reason
        finally:
            broker.stop()
    gc.collect()  # kafka-python leaves the sockets of handshakes that failed to the garbage collector


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_only_who_knows_the_password_gets_in(kafka_broker: KafkaBroker, kafka_topic: str, mechanism: str) -> None:
    if not isinstance(kafka_broker, ApacheKafka):
        pytest.skip("needs Apache Kafka: Tansu lets nobody in with SASL")
    addr = f"127.0.0.1:{kafka_broker.sasl_port}"
    options = replace(
        kafka_broker.options(kafka_topic, timeout_seconds=2.0), brokers=(addr,), mechanism=mechanism, username=USER
    )
    assert publish(replace(options, password=PASSWORD), commit("p", 1)) == [TAKEN]
    assert publish(replace(options, password="wrong"), commit("p", 2)) == [FAILED]
    assert publish(replace(options, username=None), commit("p", 2)) == [FAILED]


def test_attempts_that_fail_leave_no_thread_behind(kafka_topic: str) -> None:
    options = KafkaOptions((f"127.0.0.1:{closed_port()}",), kafka_topic, timeout_seconds=0.2)
    before = threading.active_count()
    publisher = KafkaPublisher(options)
    for _ in range(3):
        (outcome,) = publisher.publish([commit("p", 1)], seconds=5)
        assert outcome.delivery is FAILED
        with pytest.raises(Unavailable), KafkaGenerations(options).listen():
            pass
    publisher.close()
    assert threading.active_count() <= before


def test_what_was_reported_as_failed_is_not_sent_later(
    kafka_broker: KafkaBroker, kafka_topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manifold_common.adapters.kafka.publisher._DELIVERY_SHARE", 20)  # it still holds them then
    before = threading.active_count()
    publisher = KafkaPublisher(kafka_broker.options(kafka_topic, timeout_seconds=0.5))
    assert publisher.publish([commit("p", 1)], seconds=5)[0].delivery is TAKEN
    with kafka_broker.frozen():
        producer = publisher._producer
        outcomes = publisher.publish([commit(f"p{number}", 2) for number in range(6)], seconds=5)
        assert {outcome.delivery for outcome in outcomes} == {FAILED}
        assert producer._closed
        assert threading.active_count() <= before
    publisher.close()


# --- listening ----------------------------------------------------------------------------------------------------


def hear(listener: Listener, count: int) -> list[Invalidation]:
    """Return ``count`` announcements."""
    heard: list[Invalidation] = []
    deadline = time.monotonic() + DEADLINE_SECONDS
    while len(heard) < count:
        assert time.monotonic() < deadline, heard
        news = listener.next(0.5)
        if news is not None:
            heard.append(news)
    return heard


def news(project: str, generation: int, skills: int = 0) -> Invalidation:
    return Invalidation(TenantId("acme"), project_id(project), Generation(generation), Generation(skills))


def test_a_listener_hears_the_commits_of_each_project_in_order(kafka_broker: KafkaBroker, kafka_topic: str) -> None:
    kafka_broker.make_topic(kafka_topic)
    options = kafka_broker.options(kafka_topic)
    with KafkaGenerations(options).listen() as listener:
        assert listener.next(0.05) is None
        events = [commit(project, generation, generation - 1) for generation in (1, 2, 3) for project in "abc"]
        assert set(publish(options, *events)) == {TAKEN}
        heard = hear(listener, 9)
        assert listener.next(0.05) is None
    for project in "abc":
        expected = [news(project, generation, generation - 1) for generation in (1, 2, 3)]
        assert [one for one in heard if one.project == project_id(project)] == expected


def test_what_one_node_commits_is_what_another_hears(
    make_manifold: MakeManifold, kafka_broker: KafkaBroker, kafka_topic: str
) -> None:
    manifold = make_manifold(**kafka_broker.variables(kafka_topic))
    kafka_broker.make_topic(kafka_topic)
    clock, randomness = manifold.context.clock, manifold.context.randomness
    elsewhere = build_generation_cache(manifold.settings, clock, randomness)
    assert elsewhere is not None
    with elsewhere.listen() as listener, closing(build_relays(manifold)[0]) as relay:
        project = manifold.projects.create(LOCAL_PRINCIPAL, "demo").id
        manifold.edits.apply(LOCAL_PRINCIPAL, project, [MakeFolder(b"docs")])
        manifold.edits.apply(LOCAL_PRINCIPAL, project, [MakeFolder(b".skills/one")])
        while relay.run_once().more:
            pass
        tenant = LOCAL_PRINCIPAL.tenant
        assert hear(listener, 2) == [
            Invalidation(tenant, project, Generation(1), Generation(0)),
            Invalidation(tenant, project, Generation(2), Generation(2)),
        ]


def test_what_else_stands_in_the_topic_is_passed_over(kafka_broker: KafkaBroker, kafka_topic: str) -> None:
    kafka_broker.make_topic(kafka_topic, partitions=1)
    options = kafka_broker.options(kafka_topic)
    good = commit("p", 1).document()
    strange = [
        None,
        b"",
        b"not JSON",
        b"[]",
        b'"text"',
        json.dumps({**good, "type": "other"}).encode(),
        json.dumps({**good, "data": None}).encode(),
        json.dumps({**good, "data": {**good["data"], "generation": "1"}}).encode(),
        json.dumps({**good, "data": {**good["data"], "generation": True}}).encode(),
        json.dumps({**good, "data": {**good["data"], "tenant_id": 5}}).encode(),
    ]
    with KafkaGenerations(options).listen() as listener:
        producer = KafkaProducer(bootstrap_servers=kafka_broker.addr)
        for value in strange:
            producer.send(kafka_topic, key=b"k", value=value).get(10)
        producer.close()
        publish(options, commit("p", 2))
        assert hear(listener, 1) == [news("p", 2)]


def test_partitions_that_are_added_are_heard_as_well(
    kafka_broker: KafkaBroker, kafka_topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not isinstance(kafka_broker, ApacheKafka):
        pytest.skip("needs Apache Kafka: Tansu cannot add partitions")
    monkeypatch.setattr("manifold_common.adapters.kafka.listener._PARTITIONS_SECONDS", 0.1)
    kafka_broker.make_topic(kafka_topic, partitions=1)
    with KafkaGenerations(kafka_broker.options(kafka_topic)).listen() as listener:
        with kafka_broker.admin() as admin:
            admin.create_partitions({kafka_topic: 4})
            admin.wait_for_topics([kafka_topic])
        events = [commit(f"p{number}", 1) for number in range(12)]
        publish(kafka_broker.options(kafka_topic), *events)
        assert {one.project for one in hear(listener, 12)} == {event.project for event in events}


def test_without_a_broker_or_a_topic_there_is_nothing_to_hear(kafka_broker: KafkaBroker, kafka_topic: str) -> None:
    away = KafkaOptions((f"127.0.0.1:{closed_port()}",), kafka_topic, timeout_seconds=0.3)
    with pytest.raises(Unavailable, match="cannot be listened to"), KafkaGenerations(away).listen():
        pass


@pytest.mark.alone("measures time-outs")
def test_hints_and_turns_are_not_to_be_had_and_never_in_the_way() -> None:
    generations = KafkaGenerations(KafkaOptions(("127.0.0.1:1",), "t"))
    assert generations.hint(TenantId("acme"), ProjectId("p")) is None
    assert generations.announce(news("p", 1)) is False
    started = time.monotonic()
    with generations.writer_lease(TenantId("acme"), ProjectId("p"), wait_seconds=5):
        assert time.monotonic() - started < 3
    assert not generations.health().ok

    generations.close()


def test_health_says_whether_a_broker_can_be_reached(kafka_broker: KafkaBroker, kafka_topic: str) -> None:
    good = kafka_broker.options(kafka_topic)
    assert KafkaGenerations(good).health()[:2] == (True, "a broker answers")
    away = f"127.0.0.1:{closed_port()}"
    one_is_enough = replace(good, brokers=(away, *good.brokers))
    assert KafkaGenerations(one_is_enough).health().ok
    found = KafkaGenerations(replace(good, brokers=(away,))).health()
    assert (found.ok, found.detail) == (False, f"{away} cannot be connected to: Connection refused")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\0\0\6wron\0\0"])
def test_what_is_no_broker_is_not_taken_for_one(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        broker = f"127.0.0.1:{server.getsockname()[1]}"
        found = KafkaGenerations(KafkaOptions((broker,), "t")).health()
        thread.join()
    assert not found.ok
    assert broker in found.detail


@pytest.mark.alone("measures time-outs")
def test_brokers_that_say_nothing_cost_a_health_check_three_seconds_at_most() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        started = time.monotonic()
        brokers = tuple(f"{host}:{server.getsockname()[1]}" for host in ("127.0.0.1", "localhost", "127.0.0.1."))
        assert not KafkaGenerations(KafkaOptions(brokers, "t")).health().ok
        assert time.monotonic() - started < 4
