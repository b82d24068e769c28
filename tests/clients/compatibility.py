"""What a change of an OpenAPI 3.1 document breaks for clients that were made from the document before.

Adding is compatible: operations, optional parameters and fields of requests, fields of answers, statuses, media types,
headers. So an answer may say more than its schema did, and a request may not. Names count, since generated clients are
written with them: operation ids, and the names of shapes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Document = dict[str, Any]
Schema = dict[str, Any]

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_SHAPES = "#/components/schemas/"
_HEADERS = "#/components/headers/"
_LEAST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_MOST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")


def incompatibilities(before: Document, after: Document) -> list[str]:
    """Return a sentence for each thing that a client made from ``before`` may stumble on at a server of ``after``."""
    found: list[str] = []
    for path, item in before["paths"].items():
        for method in METHODS:
            if method in item:
                now = after["paths"].get(path, {}).get(method)
                name = f"{method.upper()} {path}"
                if now is None:
                    found.append(f"{name}: is gone")
                else:
                    found.extend(f"{name}: {one}" for one in _Operation(before, after).compare(item[method], now))
    return found


class _Operation:
    def __init__(self, before: Document, after: Document) -> None:
        self._before = before
        self._after = after

    def compare(self, before: Document, after: Document) -> Iterator[str]:
        if before["operationId"] != after.get("operationId"):
            yield f"operationId {before['operationId']} is {after.get('operationId')} now"
        yield from self._parameters(before.get("parameters", []), after.get("parameters", []))
        yield from self._body(before.get("requestBody"), after.get("requestBody"))
        for status, answer in before["responses"].items():
            now = after["responses"].get(status)
            if now is None:
                yield f"status {status} is gone"
            else:
                yield from self._answer(f"status {status}", answer, now)

    def _parameters(self, before: list[Document], after: list[Document]) -> Iterator[str]:
        were, are = ({_key(one): one for one in some} for some in (before, after))
        for key, one in were.items():
            where = f"{key[0]} parameter {one['name']}"
            if (now := are.get(key)) is None:
                yield f"{where} is gone"
                continue
            if now.get("required") and not one.get("required"):
                yield f"{where} is required now"
            yield from self.request().compare(where, one["schema"], now["schema"])
        for key, now in are.items():
            if key not in were and now.get("required"):
                yield f"{key[0]} parameter {now['name']} is new and required"

    def _body(self, before: Document | None, after: Document | None) -> Iterator[str]:
        if before is None or after is None:
            if before is not None:
                yield "the request's body is gone"
            elif after is not None and after.get("required"):
                yield "a request's body is required now"
            return
        if after.get("required") and not before.get("required"):
            yield "the request's body is required now"
        yield from self._content("request", before, after, self.request())

    def _answer(self, where: str, before: Document, after: Document) -> Iterator[str]:
        yield from self._content(where, before, after, self.answer())
        are = {name.lower(): header for name, header in after.get("headers", {}).items()}
        for name, header in before.get("headers", {}).items():
            if (found := are.get(name.lower())) is None:
                yield f"{where}: header {name} is gone"
                continue
            header, now = _header(header, self._before), _header(found, self._after)
            if header.get("required") and not now.get("required"):
                yield f"{where}: header {name} is not always sent now"
            else:
                yield from self.answer().compare(f"{where}: header {name}", header["schema"], now["schema"])

    def _content(self, where: str, before: Document, after: Document, schemas: Comparison) -> Iterator[str]:
        for media_type, content in before.get("content", {}).items():
            now = after.get("content", {}).get(media_type)
            if now is None:
                yield f"{where}: {media_type} is gone"
            else:
                yield from schemas.compare(where, content.get("schema", {}), now.get("schema", {}))

    def request(self) -> Comparison:
        return Comparison(self._before, self._after, is_request=True)

    def answer(self) -> Comparison:
        return Comparison(self._before, self._after, is_request=False)


def _header(header: Document, document: Document) -> Document:
    """Return a header that stands here, or among those that answers refer to."""
    if "$ref" not in header:
        return header
    found: Document = document["components"]["headers"][header["$ref"].removeprefix(_HEADERS)]
    return found


def _key(parameter: Document) -> tuple[str, str]:
    """Return what names a parameter. A header's name has no case."""
    name = parameter["name"]
    return parameter["in"], name.lower() if parameter["in"] == "header" else name


class Comparison:
    """Of schemas, on one side of a call.

    What is *given* has to be *taken*: of a request, clients of before give and the server of now takes; of an answer,
    the server of now gives and clients of before take. So one set of rules says what no longer fits.
    """

    def __init__(self, before: Document, after: Document, *, is_request: bool) -> None:
        self._before = before
        self._after = after
        self._is_request = is_request
        self._under_way: set[tuple[str, str]] = set()

    def compare(self, where: str, before: Schema, after: Schema) -> Iterator[str]:
        names = before.get("$ref", ""), after.get("$ref", "")
        if names in self._under_way:
            return
        if any(names):
            self._under_way.add(names)
        if all(names) and names[0] != names[1]:
            yield f"{where}: {_shape(names[0])} is called {_shape(names[1])} now"
        were, are = _options(before, self._before), _options(after, self._after)
        given, taken = (were, are) if self._is_request else (are, were)
        for one in given:
            yield from self._fits_one_of(where, one, taken)
        if self._is_request and "default" in before and before["default"] != after.get("default"):
            yield f"{where}: default {before['default']!r} is {after.get('default')!r} now"
        if any(names):
            self._under_way.discard(names)

    def _fits_one_of(self, where: str, given: Schema, taken: list[Schema]) -> Iterator[str]:
        tried = [list(self._fits(where, given, one)) for one in taken if _type_fits(given, one)]
        if not tried:
            said = "is not taken now" if self._is_request else "may come now"
            yield f"{where}: {_said(given)} {said}"
        else:
            yield from min(tried, key=len)

    def _fits(self, where: str, given: Schema, taken: Schema) -> Iterator[str]:
        if "enum" in taken:
            values = given.get("enum", ["any other value"])
            new = [value for value in values if value not in taken["enum"]]
            if new:
                said = "no longer taken" if self._is_request else "new among the values"
                yield f"{where}: {', '.join(map(repr, new))} {said}"
        if given.get("format") != taken.get("format"):
            yield f"{where}: the format has changed"
        if self._is_request:
            yield from _tightened(where, given, taken)
        if "items" in given and "items" in taken:
            yield from self._again(f"{where}[]", given["items"], taken["items"])
        if given.get("type") == "object" == taken.get("type"):
            yield from self._fields(where, given, taken)

    def _again(self, where: str, given: Schema, taken: Schema) -> Iterator[str]:
        before, after = (given, taken) if self._is_request else (taken, given)
        yield from self.compare(where, before, after)

    def _fields(self, where: str, given: Schema, taken: Schema) -> Iterator[str]:
        before, after = (given, taken) if self._is_request else (taken, given)
        were, are = before.get("properties", {}), after.get("properties", {})
        gone = were.keys() - are.keys()
        for name in were:
            if name in gone:
                yield f"{where}.{name}: is gone"
            else:
                yield from self.compare(f"{where}.{name}", were[name], are[name])
        for name in taken.get("required", []):
            if name not in given.get("required", []) and name not in gone:
                said = "is required now" if self._is_request else "is not always sent now"
                yield f"{where}.{name}: {said}"
        more, taken_more = given.get("additionalProperties", True), taken.get("additionalProperties", True)
        if isinstance(more, dict) and isinstance(taken_more, dict):
            yield from self._again(f"{where}.*", more, taken_more)
        elif self._is_request and more is not False and taken_more is False:
            yield f"{where}: takes no other fields now"


def _tightened(where: str, given: Schema, taken: Schema) -> Iterator[str]:
    for bound in (*_LEAST, *_MOST):
        if bound in taken:
            was, now = given.get(bound), taken[bound]
            if was is None or (now > was if bound in _LEAST else now < was):
                yield f"{where}: {bound} is {now} now"
    if "pattern" in taken and given.get("pattern") != taken["pattern"]:
        yield f"{where}: the pattern is {taken['pattern']} now"


def _options(schema: Schema, document: Document) -> list[Schema]:
    """Return a schema as alternatives of one type each, with references followed and a constant as a list of one."""
    if "$ref" in schema:
        return _options(document["components"]["schemas"][_shape(schema["$ref"])], document)
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return [option for one in schema[several] for option in _options(one, document)]
    if "allOf" in schema and "properties" not in schema:
        (one,) = schema["allOf"]  # what generators make of a reference with a description of its own
        return _options(one, document)
    if "const" in schema:
        schema = {**schema, "enum": [schema["const"]]}
    types = schema.get("type")
    return [{**schema, "type": one} for one in types] if isinstance(types, list) else [schema]


def _type_fits(given: Schema, taken: Schema) -> bool:
    has, wants = given.get("type"), taken.get("type")
    return wants is None or has == wants or (has, wants) == ("integer", "number")


def _shape(reference: str) -> str:
    return reference.removeprefix(_SHAPES)


def _said(schema: Schema) -> str:
    return str(schema.get("type", "anything"))
