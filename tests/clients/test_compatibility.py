"""Changes of the description of the API that break a client, and those that do not, are told apart."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.clients.compatibility import incompatibilities
from tests.clients.snapshot import BREAKING as BREAKING_OPTION
from tests.clients.snapshot import FILE, main, served, text_of

Document = dict[str, Any]
Change = Callable[[Document], Any]

BEFORE: Document = {
    "paths": {
        "/things/{thing}": {
            "put": {
                "operationId": "put_thing",
                "parameters": [
                    {"name": "thing", "in": "path", "required": True, "schema": {"type": "string"}},
                    {"name": "limit", "in": "query", "schema": {"type": "integer", "maximum": 9, "default": 5}},
                    {"name": "If-Match", "in": "header", "schema": {"type": "string"}},
                ],
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/New"}}}},
                "responses": {
                    "200": {
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}},
                        "headers": {
                            "ETag": {"required": True, "schema": {"type": "string"}},
                            "Age": {"$ref": "#/components/headers/Age"},
                        },
                    },
                    "404": {},
                },
            },
            "get": {"operationId": "get_thing", "responses": {"200": {}}},
        }
    },
    "components": {
        "headers": {"Age": {"required": True, "schema": {"type": "integer"}}},
        "schemas": {
            "New": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "maxLength": 20},
                    "colour": {"enum": ["red", "blue"]},
                    "size": {"anyOf": [{"type": "integer"}, {"type": "string"}, {"type": "null"}]},
                    "parts": {"type": "array", "items": {"$ref": "#/components/schemas/New"}},
                },
            },
            "Thing": {
                "type": "object",
                "required": ["id", "state", "parts"],
                "properties": {
                    "id": {"type": "string"},
                    "state": {"enum": ["on", "off"]},
                    "made_at": {"type": "string", "format": "date-time"},
                    "note": {"type": ["string", "null"]},
                    "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Thing"}},
                    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                },
            },
        },
    },
}


def put(document: Document) -> Document:
    operation: Document = document["paths"]["/things/{thing}"]["put"]
    return operation


def parameter(document: Document, index: int) -> Document:
    found: Document = put(document)["parameters"][index]
    return found


def fields(document: Document, shape: str) -> Document:
    found: Document = document["components"]["schemas"][shape]["properties"]
    return found


def shape(document: Document, name: str) -> Document:
    found: Document = document["components"]["schemas"][name]
    return found


def rename_shape(document: Document) -> None:
    schemas = document["components"]["schemas"]
    schemas["Item"] = schemas.pop("Thing")
    schemas["Item"]["properties"]["parts"]["items"]["$ref"] = "#/components/schemas/Item"
    put(document)["responses"]["200"]["content"]["application/json"]["schema"]["$ref"] = "#/components/schemas/Item"


def added(name: str, **more: Any) -> Document:
    return {"name": name, "in": "query", "schema": {"type": "string"}, **more}


def widened(schema: Document) -> Document:
    return {"anyOf": [schema, {"type": "string", "pattern": "^[a-z]+$"}], "default": schema["default"]}


BREAKING: dict[str, Change] = {
    "PUT /things/{thing}: is gone": lambda d: d["paths"]["/things/{thing}"].pop("put"),
    "operationId put_thing is set_thing now": lambda d: put(d).update(operationId="set_thing"),
    "query parameter limit is gone": lambda d: put(d)["parameters"].pop(1),
    "query parameter limit is required now": lambda d: parameter(d, 1).update(required=True),
    "query parameter of is new and required": lambda d: put(d)["parameters"].append(added("of", required=True)),
    "query parameter limit: maximum is 5 now": lambda d: parameter(d, 1)["schema"].update(maximum=5),
    "query parameter limit: default 5 is 6 now": lambda d: parameter(d, 1)["schema"].update(default=6),
    "query parameter limit: integer is not taken now": lambda d: parameter(d, 1)["schema"].update(type="string"),
    "the request's body is gone": lambda d: put(d).pop("requestBody"),
    "the request's body is required now": lambda d: put(d)["requestBody"].update(required=True),
    "request: application/json is gone": lambda d: put(d)["requestBody"]["content"].clear(),
    "request.colour: is gone": lambda d: fields(d, "New").pop("colour"),
    "request.colour: is required now": lambda d: shape(d, "New")["required"].append("colour"),
    "request.kind: is required now": lambda d: (
        shape(d, "New")["required"].append("kind"),
        fields(d, "New").update(kind={"type": "string"}),
    ),
    "request.colour: 'blue' no longer taken": lambda d: fields(d, "New").update(colour={"enum": ["red"]}),
    "request.name: maxLength is 10 now": lambda d: fields(d, "New")["name"].update(maxLength=10),
    "request.name: the pattern is ^a now": lambda d: fields(d, "New")["name"].update(pattern="^a"),
    "request.size: null is not taken now": lambda d: fields(d, "New")["size"]["anyOf"].pop(),
    "status 404 is gone": lambda d: put(d)["responses"].pop("404"),
    "status 200: application/json is gone": lambda d: put(d)["responses"]["200"]["content"].clear(),
    "status 200: header ETag is gone": lambda d: put(d)["responses"]["200"]["headers"].pop("ETag"),
    "status 200: header ETag is not always sent now": lambda d: put(d)["responses"]["200"]["headers"]["ETag"].update(
        required=False
    ),
    "status 200: header Age: string may come now": lambda d: d["components"]["headers"]["Age"]["schema"].update(
        type="string"
    ),
    "status 200.note: is gone": lambda d: fields(d, "Thing").pop("note"),
    "status 200.id: is not always sent now": lambda d: shape(d, "Thing")["required"].remove("id"),
    "status 200.id: integer may come now": lambda d: fields(d, "Thing").update(id={"type": "integer"}),
    "status 200.id: null may come now": lambda d: fields(d, "Thing").update(id={"type": ["string", "null"]}),
    "status 200.state: 'lost' new among the values": lambda d: fields(d, "Thing")["state"]["enum"].append("lost"),
    "status 200.made_at: the format has changed": lambda d: fields(d, "Thing")["made_at"].pop("format"),
    "status 200.labels.*: integer may come now": lambda d: fields(d, "Thing")["labels"].update(
        additionalProperties={"type": "integer"}
    ),
    "status 200: Thing is called Item now": rename_shape,
}
ADDITIVE: dict[str, Change] = {
    "an operation": lambda d: d["paths"].update({"/others": {"get": {"operationId": "others", "responses": {}}}}),
    "an optional parameter": lambda d: put(d)["parameters"].append(added("of")),
    "a parameter is optional now": lambda d: parameter(d, 0).update(required=False),
    "a parameter of another type besides": lambda d: parameter(d, 1).update(schema=widened(parameter(d, 1)["schema"])),
    "a looser bound": lambda d: parameter(d, 1)["schema"].update(maximum=100),
    "a header in another case": lambda d: parameter(d, 2).update(name="if-match"),
    "an optional field of a request": lambda d: fields(d, "New").update(kind={"type": "string"}),
    "a field of a request is optional now": lambda d: shape(d, "New").update(required=[]),
    "a value that is taken": lambda d: fields(d, "New")["colour"]["enum"].append("green"),
    "a type that is taken": lambda d: fields(d, "New")["size"]["anyOf"].append({"type": "boolean"}),
    "numbers where integers were taken": lambda d: fields(d, "New")["size"]["anyOf"][0].update(type="number"),
    "a type of content that is taken": lambda d: put(d)["requestBody"]["content"].update({"text/plain": {}}),
    "a status": lambda d: put(d)["responses"].update({"409": {}}),
    "a header of an answer": lambda d: put(d)["responses"]["200"]["headers"].update(
        {"Via": {"schema": {"type": "string"}}}
    ),
    "a field of an answer": lambda d: fields(d, "Thing").update(kind={"type": "string"}),
    "a field is always sent now": lambda d: shape(d, "Thing")["required"].append("note"),
    "a value that is not sent any more": lambda d: fields(d, "Thing")["state"]["enum"].pop(),
    "null is not sent any more": lambda d: fields(d, "Thing").update(note={"type": "string"}),
    "a word": lambda d: put(d).update(description="Another one."),
}


def changed(change: Change) -> Document:
    after = copy.deepcopy(BEFORE)
    change(after)
    return after


@pytest.mark.parametrize("said", BREAKING)
def test_a_change_that_breaks_clients_is_found_and_named(said: str) -> None:
    found = incompatibilities(BEFORE, changed(BREAKING[said]))
    assert found and all(said in one for one in found if "[]" not in one), found


@pytest.mark.parametrize("name", ADDITIVE)
def test_what_is_only_added_breaks_nothing(name: str) -> None:
    after = changed(ADDITIVE[name])
    assert after != BEFORE
    assert incompatibilities(BEFORE, after) == []


def test_what_a_parameter_takes_besides_is_promised_from_then_on() -> None:
    before = changed(ADDITIVE["a parameter of another type besides"])
    assert incompatibilities(before, BEFORE) == ["PUT /things/{thing}: query parameter limit: string is not taken now"]


def test_no_client_of_the_api_that_was_promised_breaks() -> None:
    assert incompatibilities(json.loads(FILE.read_text()), served()) == []


def test_the_description_that_client_authors_find_is_the_one_that_is_served() -> None:
    assert FILE.read_text() == text_of(served()), "write it anew: make openapi"


def test_what_was_promised_is_not_written_over_by_accident(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    promised = served()
    promised["paths"]["/api/old"] = {"get": {"operationId": "old", "responses": {}}}
    file = tmp_path / "openapi.json"
    file.write_text(text_of(promised))
    assert main([], file) == 1
    assert "GET /api/old: is gone" in capsys.readouterr().err
    assert file.read_text() == text_of(promised)
    assert main([BREAKING_OPTION], file) == 0
    assert main([], file) == 0
    assert file.read_text() == text_of(served())
