"""The description says what really happens, and needs nothing from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.contract.test_routes import DESCRIBED
from tests.support.api import Api


@pytest.fixture
def document(api: Api) -> dict[str, Any]:
    answer = api.get("/api/v1/openapi.json")
    assert answer.status_code == 200
    return dict(answer.json())


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def headers_of(operation: dict[str, Any]) -> set[str]:
    return {item["name"] for item in operation.get("parameters", []) if item["in"] == "header"}


def test_it_is_openapi_3_1_with_every_route(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    assert {(method, path) for method, path, _ in operations(document)} == {(r.method, r.place) for r in DESCRIBED}


def test_every_operation_has_a_description_an_id_and_a_shape_for_its_answer(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids))
    for method, path, operation in operations(document):
        assert operation["description"], (method, path)
        for status, response in operation["responses"].items():
            if status.startswith("2") and status != "204" and method != "HEAD":
                schemas = [content["schema"] for content in response["content"].values()]
                assert schemas and all(schema for schema in schemas), (method, path, status)


def test_every_error_of_the_api_is_a_problem_document(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        if not path.startswith("/api"):
            continue
        errors = {status: found for status, found in operation["responses"].items() if status[0] in "45"}
        assert errors.keys() >= {"400", "403", "500", "503"}, (method, path)
        assert ("422" in errors) == ("Idempotency-Key" in headers_of(operation)), (method, path)
        for found in errors.values():
            assert found["content"].keys() == {"application/problem+json"}
            assert found["content"]["application/problem+json"]["schema"] == {"$ref": "#/components/schemas/Problem"}


def test_every_parameter_of_a_path_is_declared(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        declared = {item["name"] for item in operation.get("parameters", []) if item["in"] == "path"}
        assert declared == set(re.findall(r"{(\w+)}", path)), (method, path)


def test_every_reference_leads_somewhere_and_every_schema_is_used(document: dict[str, Any]) -> None:
    text = str(document)
    referred = set(re.findall(r"#/components/schemas/(\w+)", text))
    assert referred == set(document["components"]["schemas"])


def test_headers_that_matter_are_declared(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        headers = headers_of(operation)
        has_versions = "/resumable-uploads/" not in path or method == "PATCH"
        if "412" in operation["responses"] and has_versions:
            assert headers >= {"If-Match", "If-None-Match", "If-Unmodified-Since"}, (method, path)
        if method == "GET" and path.startswith("/api/"):
            assert {"304", "412"} <= operation["responses"].keys(), path
            assert operation["responses"]["200"]["headers"].keys() >= {"ETag", "Last-Modified"}, path
        if "201" in operation["responses"]:
            assert operation["responses"]["201"]["headers"].keys() >= {"ETag", "Location"}, (method, path)
        if method == "GET" and path.endswith("/files/{path}"):
            assert headers >= {"Range", "If-None-Match", "If-Range"}


def test_a_tag_is_described_as_what_it_is_and_not_as_a_state_of_the_project(document: dict[str, Any]) -> None:
    tag = document["paths"]["/api/v1/projects/{project}/tags/{tag}"]
    for method in ("get", "put", "delete"):
        parameters = {one["name"]: one for one in tag[method]["parameters"]}
        assert re.match(parameters["tag"]["schema"]["pattern"], "release-1")
        assert not re.match(parameters["tag"]["schema"]["pattern"], "7")
        for name in ("If-Match", "If-Modified-Since", "If-Unmodified-Since"):
            assert "project" not in parameters.get(name, {}).get("description", ""), (method, name)
    said = tag["get"]["responses"]["200"]["headers"]["Last-Modified"]["$ref"].rpartition("/")[2]
    assert "tag" in document["components"]["headers"][said]["description"]
    for status in ("200", "201"):
        assert "Last-Modified" not in tag["put"]["responses"][status]["headers"]
    number, name = document["components"]["schemas"]["SetTag"]["properties"]["generation"]["anyOf"]
    assert (number["minimum"], name["type"]) == (1, "string")


def test_the_answers_are_what_the_description_says(api: Api, document: dict[str, Any]) -> None:
    api.project()
    api.put("/api/v1/projects/demo/files/a", content=b"x")
    schemas = document["components"]["schemas"]
    for path, name in [
        ("/api/v1/projects/demo", "Project"), ("/api/v1/projects", "ProjectPage"),
        ("/api/v1/projects/demo/tree", "TreePage"),
        ("/api/v1/projects/demo/commits", "CommitPage"), ("/api/v1/projects/demo/commits/1", "Commit"),
        ("/api/v1/projects/demo/diff?before=0&after=1", "DiffPage"), ("/health", "ServerHealth"),
        ("/api/v1/projects/nothing", "Problem"),
    ]:  # fmt: skip
        body = api.get(path).json()
        assert body.keys() <= schemas[name]["properties"].keys(), path
        assert body.keys() >= set(schemas[name]["required"]), path


def test_the_headers_of_answers_are_those_that_the_description_says(api: Api, document: dict[str, Any]) -> None:
    described = document["components"]["headers"]
    always = {name.lower() for name, header in described.items() if header["required"]}
    api.post("/api/v1/projects", json={"name": "demo"})
    api.put("/api/v1/projects/demo/files/a", content=b"x")
    etag = api.get("/api/v1/projects/demo/files/a").headers["etag"]
    file, archive = "/api/v1/projects/{project}/files/{path}", "/api/v1/projects/{project}/archive"
    answers = [
        ("/api/v1/projects", "post", api.post("/api/v1/projects", json={"name": "other"})),
        ("/api/v1/projects/{project}/fork", "post", api.post("/api/v1/projects/demo/fork", json={"name": "forked"})),
        ("/api/v1/projects/{project}", "get", api.get("/api/v1/projects/demo")),
        (file, "get", api.get("/api/v1/projects/demo/files/a")),
        (file, "get", api.get("/api/v1/projects/demo/files/a", headers={"Range": "bytes=0-0"})),
        (file, "get", api.get("/api/v1/projects/demo/files/a", headers={"If-None-Match": etag})),
        (file, "head", api.head("/api/v1/projects/demo/files/a")),
        (archive, "get", api.get("/api/v1/projects/demo/archive")),
    ]
    for place, method, answer in answers:
        said = document["paths"][place][method]["responses"][str(answer.status_code)]["headers"]
        names = {name.lower() for name in said}
        sent = {name.lower() for name in described if name in answer.headers}
        assert sent <= names, place
        assert names & always <= sent, place
    for _, _, operation in operations(document):
        for status in operation["responses"].keys() & {"429", "503"}:
            answer = operation["responses"][status]
            assert ("Retry-After" in answer.get("headers", {})) is ("application/problem+json" in answer["content"])


def test_what_was_made_is_linked_to_all_that_can_be_done_with_it(api: Api, document: dict[str, Any]) -> None:
    by_id = {one["operationId"]: (path, one["responses"]) for _, path, one in operations(document)}
    project, session = api.project(), api.post("/api/v1/sessions", json={"project": "demo"}).json()["session"]
    assert api.get(f"/api/v1/projects/{project}").status_code == 200
    assert api.get(f"/api/v1/sessions/{session}").status_code == 200
    for maker, parameter, where in (
        ("create_project", "project", "$response.body#/id"),
        ("fork_project", "project", "$response.body#/id"),
        ("open_session", "session", "$response.body#/session"),
    ):
        takers = {name for name, (path, _) in by_id.items() if f"{{{parameter}}}" in path}
        found = [answer["links"] for answer in by_id[maker][1].values() if "links" in answer]
        assert found
        for links in found:
            assert {link["operationId"]: link["parameters"] for link in links.values()} == {
                name: {parameter: where} for name in takers
            }


def test_a_field_of_a_request_that_may_be_left_out_has_no_default_that_makes_it_one_that_is_always_there(
    document: dict[str, Any],
) -> None:
    fields = [
        field
        for name, schema in document["components"]["schemas"].items()
        for field in schema.get("properties", {}).values()
        if name != "Problem"
    ]
    assert not [field for field in fields if "default" in field]
    assert any(str(field.get("description")).endswith('"fail" by default.') for field in fields)


def test_nothing_is_loaded_from_elsewhere(api: Api) -> None:
    for path in ("/docs", "/redoc", "/api/docs"):
        assert api.get(path).status_code == 404
    for path in ("/", "/static/status.css", "/static/icon.svg"):
        named = re.findall(
            r"""(?:src|href|srcset|action)\s*=\s*["']?([^"'\s>]+)|url\(([^)]*)\)|@import\s+(\S+)""", api.get(path).text
        )
        assert not [place for places in named for place in places if "//" in place]


@pytest.mark.parametrize(
    ("change", "is_one"),
    [
        ({"text": "x"}, True),
        ({"text": ""}, True),
        ({"content_base64": "eA=="}, True),
        ({"text": "x", "content_base64": None}, True),
        ({"text": None, "content_base64": "eA=="}, True),
        ({}, False),
        ({"text": None}, False),
        ({"text": "x", "content_base64": "eA=="}, False),
    ],
)
def test_the_description_says_which_content_a_change_may_have(
    api: Api, document: dict[str, Any], change: dict[str, Any], is_one: bool
) -> None:
    asked = {"op": "put", "path": "a", **change}
    taken = Draft202012Validator({**document, "$ref": "#/components/schemas/PutFileChange"})
    assert taken.is_valid(asked) is is_one
    api.project()
    answer = api.post("/api/v1/projects/demo/commits", json={"changes": [asked]})
    assert answer.is_success is is_one, "the server takes just what the description says"


def test_the_description_says_that_a_file_comes_with_one_content(api: Api, document: dict[str, Any]) -> None:
    api.project()
    for path, content in (("a", b"text"), ("b", b"\xff")):
        api.put(f"/api/v1/projects/demo/files/{path}", content=content)
    wanted = {"paths": [{"path": "a"}, {"path": "b"}]}
    told = Draft202012Validator({**document, "$ref": "#/components/schemas/FileContent"})
    items = api.post("/api/v1/projects/demo/read", json=wanted).json()["items"]
    assert [told.is_valid(item) for item in items] == [True, True]
    assert not told.is_valid({**items[0], "content_base64": "eA=="})
