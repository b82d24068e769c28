"""An id is a text that was looked at. What comes from elsewhere becomes one by its decoder or by ``parse_*``; nobody
just says that it is one."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any, NewType

import msgspec
import pytest
from manifold_common import ids
from manifold_common.adapters.kafka import listener
from manifold_common.adapters.remote import problems, server
from manifold_common.domain.object_key import ObjectKey
from manifold_common.engine import commit_writer, node_record
from manifold_common.engine.working_set import owner, retired, state
from manifold_common.format import commit_object, key_record
from manifold_common.services.deferred import asked
from manifold_common.services.resumable import records
from manifold_common.shapes import cursors
from msgspec import inspect

from tests.architecture.test_imports import modules

TYPES = {name: found for name, found in vars(ids).items() if isinstance(found, NewType)}
TEXTS = sorted(name for name in TYPES if name not in ("Generation", "ChunkId"))

ELSEWHERE = ("../x", "/etc/passwd", "a/b", "..", "", "a\0b", "a\n", "a" * 26 + "\n", "A" * 26, "x" * 200)


@pytest.mark.parametrize("name", sorted(TYPES))
def test_a_decoder_refuses_what_could_be_no_such_id(name: str) -> None:
    wanted = TYPES[name]
    for text in (*ELSEWHERE, 5, None, 1.5):
        if name == "RequestId" and text in ("../x", "/etc/passwd", "a/b", ".."):
            continue  # it names nothing but a row
        if name in ("RequestId", "TagName") and text == "A" * 26:
            continue
        if name == "Generation" and text == 5:
            continue
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(text, wanted)
    for number in (-1, 10**12):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(number, wanted)


def test_what_is_parsed_and_what_is_decoded_are_the_same() -> None:
    for text in (
        "a",
        "s1",
        "ada@example.org",
        "a.b_c-d",
        "a" * 26,
        "a" * 25 + "q",
        "a" * 25 + "b",
        "7" * 26,
        "7-" + "a" * 26,
        "release-1.0_b",
        "head",
        "HEAD",
        "header",
        "x" * 64,
        *ELSEWHERE,
    ):
        for name in TEXTS:
            parse = {
                "TenantId": ids.parse_tenant_id,
                "UserId": ids.parse_user_id,
                "SessionId": ids.parse_session_id,
                "ProjectId": ids.parse_project_id,
                "CommitId": ids.parse_commit_id,
                "DekId": ids.parse_dek_id,
                "ObjectId": ids.parse_object_id,
                "CatalogId": ids.parse_catalog_id,
                "IncarnationId": ids.parse_incarnation_id,
                "WorkingSetId": ids.parse_working_set_id,
                "RequestId": ids.parse_request_id,
                "UploadId": ids.parse_upload_id,
                "JobId": ids.parse_job_id,
                "TagName": ids.parse_tag_name,
            }[name]
            assert _is_taken(parse, text) == _is_taken(lambda text, kind=TYPES[name]: msgspec.convert(text, kind), text)


def _is_taken(take: Any, text: str) -> bool:
    try:
        take(text)
    except (msgspec.ValidationError, ids.InvalidInput):
        return False
    return True


MADE_HERE = {"encode_id", "new_id", "_new_id", "_random_id"}
HELD_AGAINST_ITS_PLACE = {
    # A container's name is a pack id or a commit id, which its decoder has made of 16 bytes.
    "manifold_common.format.places",
    "manifold_common.engine.commit_writer",
}


def test_nobody_calls_a_text_an_id_that_was_not_looked_at() -> None:
    found = [
        f"{name}:{call.lineno}: {ast.unparse(call)}"
        for name, path in modules().items()
        if name != "manifold_common.ids" and name not in HELD_AGAINST_ITS_PLACE
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") in TEXTS and not _is_made_here(call.args[0])
    ]
    assert found == []


def _is_made_here(argument: ast.expr) -> bool:
    if isinstance(argument, ast.Constant):
        return True
    called = getattr(argument, "func", None)
    return getattr(called, "id", getattr(called, "attr", "")) in MADE_HERE


RAW_TEXT = {
    # Shown, and never more than that.
    "message", "detail", "hint", "code", "reason", "type", "strategy", "paths", "scope", "name", "next", "path", "url",
    "headers",
    # Anything may stand there.
    "provenance", "details",
    # What a client has said of an upload, and is told again; and what a client is told of its file.
    "metadata", "conditions",
    "etag",
}  # fmt: skip
HELD_AGAINST_THE_OBJECT = {
    # Compared with the id that the object was asked for by; ``author`` and ``session`` are shown.
    "commit_object.CommitMeta": {"tenant", "project", "commit", "parent", "author", "session"},
    "commit_object.CheckpointMeta": {"tenant", "project", "commit"},
    "tree_columns.PlaceColumns": {"containers"},  # parsed one by one, when rows are made of the columns
    "key_record._Record": {"tenant", "project", "dek", "provider", "key_name"},
    "owner._Record": {"incarnation"},  # compared with that of this installation
    "asked.AskedArchive": {"version"},  # compared with that of the archive
    "node_record.NodeRecord": {"node"},  # shown
}


def decoders() -> Iterator[tuple[str, Any]]:
    for module in (
        listener,
        problems,
        server,
        commit_writer,
        node_record,
        retired,
        owner,
        state,
        commit_object,
        key_record,
        cursors,
        records,
        asked,
    ):
        for name, found in vars(module).items():
            if isinstance(found, msgspec.json.Decoder | msgspec.msgpack.Decoder):
                yield f"{module.__name__}.{name}", found.type


def test_every_decoder_of_a_structure_is_among_those_that_are_looked_at() -> None:
    """Others decode plain lists and maps."""
    makers = {
        name
        for name, path in modules().items()
        if name.startswith("manifold_common")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "Decoder"
    }
    plain = {"manifold_common.engine.session_scope", "manifold_common.engine.working_set.closed_folders"}
    assert makers - plain <= {name.rpartition(".")[0] for name, _ in decoders()}


def test_no_decoder_takes_a_text_for_an_id_as_it_is() -> None:
    found = [f"{where}: {field}" for where, kind in decoders() for field in _raw_texts(inspect.type_info(kind))]
    assert found == []


def test_a_structure_with_an_id_that_is_any_text_is_noticed() -> None:
    class Careless(msgspec.Struct):
        session: str
        nested: list[dict[str, str]]

    assert list(_raw_texts(inspect.type_info(Careless))) == ["Careless.session", "Careless.nested"]
    for kind in (ids.SessionId, ObjectKey):
        assert list(_raw_texts(inspect.type_info(kind))) == []


def _raw_texts(info: inspect.Type, seen: frozenset[type] = frozenset()) -> Iterator[str]:
    """Yield the fields that hold any text."""
    if isinstance(info, inspect.Metadata):
        yield from _raw_texts(info.type, seen)
    elif isinstance(info, inspect.StructType):
        if info.cls in seen:
            return
        place = f"{info.cls.__module__.rpartition('.')[2]}.{info.cls.__name__}"
        spared = RAW_TEXT | HELD_AGAINST_THE_OBJECT.get(place, set())
        for field in info.fields:
            if field.name in spared:
                continue
            if any(_is_any_text(part) for part in _parts(field.type)):
                yield f"{info.cls.__name__}.{field.name}"
            for part in _parts(field.type):
                if isinstance(part, inspect.StructType):
                    yield from _raw_texts(part, seen | {info.cls})


def _is_any_text(info: inspect.Type) -> bool:
    return isinstance(info, inspect.StrType) and info.pattern is None


def _parts(info: inspect.Type) -> Iterator[inspect.Type]:
    """Yield a type and those that it is made of, but what structures are made of."""
    yield info
    inner = [getattr(info, name, None) for name in ("type", "item_type", "key_type", "value_type")]
    inner += [*getattr(info, "types", ()), *getattr(info, "item_types", ())]
    for one in inner:
        if isinstance(one, inspect.Type):
            yield from _parts(one)
