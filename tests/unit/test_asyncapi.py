"""docs/asyncapi.yaml describes every event that is sent."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml
from manifold_common.bootstrap import Manifold
from manifold_common.domain import event as event_module
from manifold_common.domain.access import LOCAL_PRINCIPAL
from manifold_common.domain.correlation import Correlation, correlated
from manifold_common.domain.job import ItemState, JobState
from manifold_common.ids import Generation, ProjectId, SessionId, TagName
from manifold_common.ports.catalog import ItemReport
from manifold_common.services.projects.edits import Delete, MakeFolder
from manifold_common.shapes.events import Event
from manifold_common.shapes.intent import Intent

from functions.api.asyncapi import page
from tests.support.garbage import collect
from tests.support.manifold import MakeManifold

DOCS = Path(__file__).parents[2] / "docs"
DOCUMENT: dict[str, Any] = yaml.safe_load((DOCS / "asyncapi.yaml").read_text())
MESSAGES: dict[str, Any] = DOCUMENT["components"]["messages"]
TYPES = {value for name, value in vars(event_module).items() if name.startswith("PROJECT_")}
TYPES |= {event_module.JOB_EVENTS + state.value for state in JobState}


def message_type(name: str) -> str:
    return str(MESSAGES[name]["payload"]["allOf"][1]["properties"]["type"]["const"])


NAMES = {message_type(name): name for name in MESSAGES}


def validator(type_: str) -> jsonschema.Draft7Validator:
    """AsyncAPI's schemas are JSON Schema draft 7."""
    return jsonschema.Draft7Validator(
        {"$ref": f"#/components/messages/{NAMES[type_]}/payload", "components": DOCUMENT["components"]}
    )


def described_fields(type_: str) -> set[str]:
    _, own = MESSAGES[NAMES[type_]]["payload"]["allOf"]
    schema = own["properties"]["data"]["$ref"].rpartition("/")[2]
    return set(DOCUMENT["components"]["schemas"][schema]["properties"])


def sent(manifold: Manifold) -> list[dict[str, Any]]:
    """Return the events of a life of a project, and of jobs with every end, as they are sent."""
    edits, projects = manifold.edits, manifold.projects
    project = projects.create(LOCAL_PRINCIPAL, "demo").id
    edits.apply(LOCAL_PRINCIPAL, project, [MakeFolder(b"docs"), MakeFolder(b"\xff\n\x1b")])
    edits.apply(LOCAL_PRINCIPAL, project, [MakeFolder(b".skills/one")])
    edits.apply(LOCAL_PRINCIPAL, project, [Delete(b"docs")])
    commit_in_session(manifold, project)
    edits.restore(LOCAL_PRINCIPAL, project, Generation(1), [], Intent())
    projects.rename(LOCAL_PRINCIPAL, project, "other")
    manifold.tags.set(LOCAL_PRINCIPAL, project, TagName("release-1"), Generation(1))
    manifold.tags.remove(LOCAL_PRINCIPAL, project, TagName("release-1"))
    manifold.forks.fork(LOCAL_PRINCIPAL, project, "fork")
    manifold.retention_settings.set(LOCAL_PRINCIPAL, project, 1)
    collect(manifold, project, generations=1)
    projects.delete(LOCAL_PRINCIPAL, project)
    manifold.deleted_projects.undelete(LOCAL_PRINCIPAL, project)
    end_jobs(manifold)
    return [dict(event.document) for event in manifold.events.recent(limit=100)]


def end_jobs(manifold: Manifold) -> None:
    jobs, catalog, tenant = manifold.jobs, manifold.context.catalog, LOCAL_PRINCIPAL.tenant
    held = jobs.start(LOCAL_PRINCIPAL, "rewrap", {}).job.id
    jobs.pause(LOCAL_PRINCIPAL, held)
    jobs.cancel(LOCAL_PRINCIPAL, held)
    for state in (ItemState.DONE, ItemState.FAILED):
        job = jobs.start(LOCAL_PRINCIPAL, "rewrap", {}).job.id
        catalog.plan_items(tenant, job, None, ["one"], None)
        (claimed,) = catalog.claim_items(tenant, job, "a" * 26, seconds=60, limit=1)
        catalog.report_items(tenant, job, "a" * 26, [ItemReport(claimed.number, state)])


def commit_in_session(manifold: Manifold, project: ProjectId) -> None:
    work = Path(manifold.sessions.checkout(LOCAL_PRINCIPAL, SessionId("s1"), project).path)
    (work / "new").write_text("content")
    manifold.commits.commit(LOCAL_PRINCIPAL, SessionId("s1"), Intent("message"))


def test_an_event_that_a_request_made_says_which_as_the_schema_has_it(make_manifold: MakeManifold) -> None:
    with correlated(Correlation("run-17/step-4", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")):
        documents = sent(make_manifold())
    for document in documents:
        validator(document["type"]).validate(document)
        assert set(document) == set(DOCUMENT["components"]["schemas"]["Event"]["properties"])
        assert set(document["data"]) <= described_fields(document["type"])


@pytest.mark.parametrize("include_paths", ["true", "false"])
def test_the_api_describes_every_field_of_an_event(make_manifold: MakeManifold, include_paths: str) -> None:
    with correlated(Correlation("run-17", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")):
        documents = sent(make_manifold(KAFKA_INCLUDE_PATHS=include_paths))
    for document in documents:
        assert msgspec.to_builtins(msgspec.convert(document, Event)) == document


@pytest.mark.parametrize("include_paths", ["true", "false"])
@pytest.mark.parametrize("public_url", ["", "https://manifold.example"])
def test_every_event_that_is_sent_is_as_the_schema_has_it(
    make_manifold: MakeManifold, include_paths: str, public_url: str
) -> None:
    variables = {"SERVER_PUBLIC_URL": public_url} if public_url else {}
    documents = sent(make_manifold(KAFKA_INCLUDE_PATHS=include_paths, KAFKA_MAX_PATHS="1", **variables))
    assert {document["type"] for document in documents} == TYPES
    assert len(documents) == 22
    for document in documents:
        validator(document["type"]).validate(document)
        described = set(DOCUMENT["components"]["schemas"]["Event"]["properties"])
        assert described - set(document) == {"correlationid", "traceparent"}, "nobody's request made it"
        assert set(document["data"]) == described_fields(document["type"])
    commits = [document["data"] for document in documents if document["type"] == "manifold.project.commit"]
    assert commits[0]["changed_count"] == 2
    assert commits[0]["changed_paths"] == (["docs"] if include_paths == "true" else None)
    assert {data["session_id"] for data in commits} == {None, "s1"}
    assert [data["skills_generation"] for data in commits[:2]] == [0, 2]
    assert all(data["changes_url"].startswith(f"{public_url}/api/v1/projects/") for data in commits)


def test_the_link_to_the_changes_of_a_commit_is_one_that_the_server_has(make_manifold: MakeManifold) -> None:
    from functions.api.app import create_app

    manifold = make_manifold()
    link = next(d["data"]["changes_url"] for d in sent(manifold) if d["type"] == "manifold.project.commit")
    found = re.fullmatch(r"/api/v1/projects/[a-z2-7]{26}(/diff)\?(.*)", link)
    assert found is not None
    operation = create_app(manifold).openapi()["paths"]["/api/v1/projects/{project}" + found[1]]["get"]
    required = {p["name"] for p in operation["parameters"] if p["in"] == "query" and p["required"]}
    assert {pair.partition("=")[0] for pair in found[2].split("&")} == required


@pytest.mark.parametrize(
    "change",
    [
        {"specversion": "2.0"},
        {"sequence": "7"},
        {"type": "manifold.project.other"},
        {"dataschema": "urn:manifold:event:project.commit:2"},
        {"partitionkey": "not an id"},
        {"data": {}},
        {"id": ""},
    ],
    ids=str,
)
def test_the_schema_refuses_what_is_not_an_event(make_manifold: MakeManifold, change: dict[str, Any]) -> None:
    manifold = make_manifold()
    project = manifold.projects.create(LOCAL_PRINCIPAL, "demo").id
    manifold.edits.apply(LOCAL_PRINCIPAL, project, [MakeFolder(b"docs")])
    document = dict(manifold.events.recent(limit=1)[0].document)
    check = validator("manifold.project.commit")
    check.validate(document)
    with pytest.raises(jsonschema.ValidationError):
        check.validate({**document, **change})


def test_the_document_is_what_the_shapes_say() -> None:
    assert (DOCS / "asyncapi.yaml").read_text() == page()


def test_every_type_of_event_has_a_message_on_every_channel() -> None:
    assert set(NAMES) == TYPES
    for channel in DOCUMENT["channels"].values():
        assert {one["$ref"].rpartition("/")[2] for one in channel["messages"].values()} == set(MESSAGES)


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_every_reference_leads_somewhere() -> None:
    for reference in references(DOCUMENT):
        node = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]


def test_the_page_names_every_type_of_event_and_its_example_is_one() -> None:
    import json

    page = (DOCS / "events.md").read_text()
    assert set(re.findall(r"^\| `(manifold\.[a-z.]+)` \|", page, re.MULTILINE)) == TYPES
    example = re.search(r"```json\n(.*?)```", page, re.DOTALL)
    assert example is not None
    document = json.loads(example[1])
    validator(document["type"]).validate(document)
    assert set(document["data"]) == described_fields(document["type"])


def test_the_data_of_a_tag_speaks_of_no_job() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert "job" not in str(schemas["TagData"])
    assert "job" in schemas["JobData"]["properties"]["project_id"]["description"]
