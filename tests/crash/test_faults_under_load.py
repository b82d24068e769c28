"""Every server that nodes depend on fails while clients of three nodes commit, save, check out and read.

What each client was told and shown is held against the history: no acknowledged commit is lost, none that was refused
is there, no tree that is read is wrong or older than one that was known, and work goes on by itself when the fault is
over. ``MANIFOLD_TEST_FAULT_SECONDS`` searches longer.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
from manifold_common.bootstrap import Manifold
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.ids import DEFAULT_TENANT, ProjectId
from manifold_common.shapes.intent import Intent
from manifold_common.shapes.sessions import CheckoutKind

from tests.support.enterprise import Enterprise, Node
from tests.support.load import Acknowledged, Failed, Files, Mix, Saw, Tried, digest, files_in, folder_of, session_of
from tests.support.load_process import LoadProcess, Order
from tests.support.s3_proxy import Fault as S3Fault
from tests.support.scene import ANYWHERE, MakeNodes, Scene, wait_for
from tests.support.work import lose_ram

KEY, STORE, CATALOG = "key_unavailable", "store_unavailable", "catalog_unavailable"

NO_KEYS_KEPT = {"PROJECTS_ENCRYPTION_DEK_CACHE_SECONDS": "0"}
IMPATIENT = {
    "DATABASE_TIMEOUT_SECONDS": "2",
    "S3_REQUEST_TIMEOUT_SECONDS": "1",
    "S3_MAX_RETRIES": "1",
    "S3_RETRY_TIMEOUT_SECONDS": "3",
    "VAULT_TIMEOUT_SECONDS": "1",
}


# --- Vault ------------------------------------------------------------------------------------------------------------


def test_while_vault_is_sealed_errors_say_so_and_what_has_its_keys_in_memory_goes_on(
    enterprise: Enterprise, make_nodes: MakeNodes, seed: int
) -> None:
    scene = Scene(make_nodes({}, NO_KEYS_KEPT, NO_KEYS_KEPT), [KEY], ANYWHERE, seed)
    told: list[Failed] = []
    with scene.load():
        for _ in scene.rounds(lambda: bool(scene.failures(commits=True))):
            enterprise.vault.seal()
            try:
                before = len(scene.failures())
                scene.go_on("a")
                wait_for(lambda before=before: len(scene.failures()) >= before + 6, lambda: "nobody misses Vault")
                told += asked_since(scene.failures()[before:])
            finally:
                enterprise.vault.unseal()
            scene.go_on()
    assert [one.message for one in told if "sealed" not in one.message] == []
    assert told
    assert not any(one.client.startswith("a") for one in scene.failures())
    scene.check()


def asked_since(failures: Sequence[Failed]) -> list[Failed]:
    """Of what clients were told since a moment, leave out what each of them may have asked for before that moment."""
    first = {one.client: one for one in reversed(failures)}
    return [one for one in failures if one is not first[one.client]]


# --- S3 ---------------------------------------------------------------------------------------------------------------


def any_s3_fault(rng: random.Random) -> S3Fault:
    return rng.choice(
        [
            S3Fault("status", 500, "InternalError"),
            S3Fault("status", 503, "SlowDown"),
            S3Fault("hang"),
            S3Fault("cut", keep_bytes=rng.choice((0, 1, 200))),
            S3Fault("stall", keep_bytes=rng.choice((0, 100))),
            S3Fault("drop"),
            S3Fault("lost_ack"),
            S3Fault("late_ack", seconds=rng.choice((0.1, 1.3))),
        ]
    )


def trouble_s3(enterprise: Enterprise, rng: random.Random) -> None:
    enterprise.s3.inject(any_s3_fault(rng), times=rng.choice((1, 2, 4)))
    time.sleep(rng.uniform(0, 0.05))


def test_whatever_s3_does_no_commit_is_lost_and_no_read_is_wrong(
    enterprise: Enterprise, make_nodes: MakeNodes, seed: int
) -> None:
    scene = Scene(make_nodes(IMPATIENT, IMPATIENT, IMPATIENT), [STORE], ANYWHERE, seed)
    with scene.load():
        for _ in scene.rounds(lambda: bool(scene.failures(commits=True))):
            trouble_s3(enterprise, scene.rng)
        enterprise.s3.clear()
    scene.check()


# --- PostgreSQL -------------------------------------------------------------------------------------------------------


def trouble_network(enterprise: Enterprise, rng: random.Random) -> None:
    if rng.random() < 0.05:
        enterprise.network.cut_all()
    else:
        enterprise.network.fault = rng.choice(("cut_after_answer", "cut_before_request"))
    time.sleep(rng.uniform(0, 0.03))


def restart_postgres(enterprise: Enterprise, away_seconds: float = 0.0) -> None:
    before = started_at(enterprise)
    enterprise.postgres.close(stop_now=True)
    time.sleep(away_seconds)
    enterprise.postgres.ensure_running()
    assert started_at(enterprise) > before


def started_at(enterprise: Enterprise) -> datetime:
    with psycopg.connect(enterprise.postgres.dsn) as connection:
        row = connection.execute("SELECT pg_postmaster_start_time()").fetchone()
    assert row is not None
    moment: datetime = row[0]
    return moment


def test_whatever_happens_to_postgresql_what_was_acknowledged_is_there(
    enterprise: Enterprise, make_nodes: MakeNodes, seed: int
) -> None:
    scene = Scene(make_nodes(IMPATIENT, IMPATIENT, IMPATIENT), [CATALOG], ANYWHERE, seed)
    with scene.load():
        for _ in scene.rounds(lambda: bool(scene.failures(commits=True))):
            trouble_network(enterprise, scene.rng)
        enterprise.network.fault = ""
        scene.go_on()
        restart_postgres(enterprise, away_seconds=scene.rng.choice((0.0, 1.0)))
    scene.check()


# --- all at once ------------------------------------------------------------------------------------------------------


def trouble_redis(enterprise: Enterprise, rng: random.Random, project: ProjectId) -> None:
    what = rng.choice(("0", "999999", "flush", "drop", "restart"))
    if what == "restart":
        enterprise.redis.kill()
        time.sleep(rng.uniform(0, 0.1))
        enterprise.redis.start()
        return
    with enterprise.redis.admin() as admin:
        if what == "flush":
            admin.flushall()
        elif what == "drop":
            admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        else:
            names = [f"project:{DEFAULT_TENANT}:{project}:{name}" for name in ("generation", "skills_gen")]
            admin.mset(dict.fromkeys(names, what))


def trouble_vault(enterprise: Enterprise, rng: random.Random) -> None:
    enterprise.vault.seal()
    try:
        time.sleep(rng.uniform(0, 0.2))
    finally:
        enterprise.vault.unseal()


def test_when_every_server_fails_at_once_nothing_acknowledged_is_lost_and_work_resumes(
    enterprise: Enterprise, make_nodes: MakeNodes, seed: int
) -> None:
    variables = {**IMPATIENT, **NO_KEYS_KEPT}
    scene = Scene(make_nodes(variables, variables, variables), [KEY, STORE, CATALOG], ANYWHERE, seed)
    troubles = [
        lambda: trouble_s3(enterprise, scene.rng),
        lambda: trouble_network(enterprise, scene.rng),
        lambda: trouble_redis(enterprise, scene.rng, scene.project),
        lambda: trouble_vault(enterprise, scene.rng),
    ]
    with scene.load():
        for _ in scene.rounds(lambda: bool(scene.failures(commits=True))):
            scene.rng.choice(troubles)()
        enterprise.s3.clear()
        enterprise.network.fault = ""
    scene.check()


# --- a node -----------------------------------------------------------------------------------------------------------


def take_over(scene: Scene, node: Manifold, client: str) -> tuple[CheckoutKind, Files]:
    """Go on with the session of a client whose process is gone: check it out, look at it, commit it with one more file.

    Returns how its working set came about, and what was in its folder.
    """
    session, own = session_of(scene.project, client), folder_of(client)
    number = max(one.number for one in scene.records if isinstance(one, Tried) and one.client == client) + 1
    found = node.sessions.checkout(LOCAL_PRINCIPAL, session)
    work = Path(found.path)
    files = files_in(work)
    mine = {path: data for path, data in files.items() if path.startswith(own)}
    scene.records += [Tried(client, number, mine), Saw(client, found.generation, 0, files)]
    (work / own / "after").write_bytes(b"%d" % number)
    scene.records.append(Tried(client, number + 1, {**mine, f"{own}after": digest(b"%d" % number)}))
    done = node.commits.commit(LOCAL_PRINCIPAL, session, Intent(f"{client}/{number + 1}"))
    scene.records.append(Acknowledged(client, number + 1, done.generation))
    return found.kind, mine


def test_sessions_of_a_killed_node_go_on_elsewhere_or_where_they_were(
    enterprise: Enterprise, make_nodes: MakeNodes, tmp_path: Path, ram_folder: Path, seed: int
) -> None:
    (a,) = make_nodes({})
    scene = Scene([a], [], [Mix(editors=1, readers=1)], seed)
    node = enterprise.node(tmp_path, ram_folder, "v")
    with scene.load():
        order = Order(node, scene.project, "v", Mix(writers=3, save_chance=0.5), seed, [])
        process = LoadProcess(order, scene.records.append)
        clients = ["v0", "v1", "v2"]
        try:
            wait_for(lambda: all(scene.answers(client) >= 3 for client in clients), lambda: "no client gets an answer")
            time.sleep(scene.rng.uniform(0, 0.3))
        finally:
            process.kill()
        # Of a session that is over and has nothing to keep, nothing is kept: this one shall have something.
        (work_of(node, scene.project, "v2") / folder_of("v2") / "before").write_bytes(b"not committed")
        left = {client: in_ram(node, scene.project, client) for client in clients}

        lose_ram(work_of(node, scene.project, "v0"))
        durable = scene.may_be_left("v0")
        kind, found = take_over(scene, a, "v0")
        assert (kind, found in durable) == (CheckoutKind.RESTORED, True)

        again = node.build()
        kind, found = take_over(scene, again, "v1")
        assert (kind is CheckoutKind.RESTORED, found) == (False, left["v1"])
        again.close()

        later = node.build()
        for client in clients:
            user, session = LOCAL_PRINCIPAL.user, session_of(scene.project, client)
            later.context.catalog.prolong_session(DEFAULT_TENANT, user, session, timedelta(seconds=-1))
        assert later.maintenance.sweep_working_sets() == 2
        assert not any(work_of(node, scene.project, client).exists() for client in clients)
        later.close()
        kind, found = take_over(scene, a, "v2")
        assert (kind, found) == (CheckoutKind.RESTORED, left["v2"])
    scene.check()


def work_of(node: Node, project: ProjectId, client: str) -> Path:
    """Return where a client's working set is, whatever folders are above it."""
    (own,) = node.ram.iterdir()
    return own / DEFAULT_TENANT / LOCAL_PRINCIPAL.user / session_of(project, client) / "work"


def in_ram(node: Node, project: ProjectId, client: str) -> Files:
    found = files_in(work_of(node, project, client))
    return {path: data for path, data in found.items() if path.startswith(folder_of(client))}
