from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

from manifold_common.adapters.memory.catalog import MemoryCatalog
from manifold_common.adapters.system.clock import SystemClock
from manifold_common.errors import CatalogUnavailable

from tests.support.api import Api, MakeApi


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.attributes: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        self.text += data


def read(api: Api) -> _Reader:
    reader = _Reader()
    answer = api.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    reader.feed(answer.text)
    return reader


def test_the_page_shows_projects_sessions_dependencies_and_what_to_beware_of(api: Api) -> None:
    api.project("demo")
    api.put("/api/v1/projects/demo/files/a", content=b"x" * 2048)
    api.post("/api/v1/sessions", json={"project": "demo", "session": "agent-7"})
    text = read(api).text
    for shown in ("demo", "2.0 KiB", "agent-7", "postgres", "object store", "There is no sign-in", "0.1.0"):
        assert shown in text


def test_the_page_of_an_empty_server_says_how_to_begin(api: Api) -> None:
    text = read(api).text
    assert "manifold import" in text and "manifold checkout" in text


def test_every_link_of_the_page_leads_somewhere_on_this_server(api: Api) -> None:
    api.project("demo")
    api.post("/api/v1/sessions", json={"project": "demo", "session": "s1"})
    links = read(api).links
    assert len(links) >= 6
    for link in links:
        assert link.startswith("/")
        assert api.get(link).status_code == 200


def test_a_name_is_text_on_the_page_whatever_it_says(api: Api) -> None:
    names = ["<script>alert(1)<", '"><img src=x onerror=alert(1)>', "' onmouseover='x", "&lt;b&gt;", "{overall} %s"]
    for name in names:
        api.project(name)
    page = read(api)
    assert all(name in page.text for name in names)
    assert not {"script", "iframe", "form", "object"} & set(page.tags)
    assert page.tags.count("img") == 1
    assert not [name for name in page.attributes if name.startswith("on") or name == "style"]


def test_the_pages_policy_lets_only_its_own_style_and_icon_in(api: Api) -> None:
    policy = api.get("/").headers["content-security-policy"]
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives["default-src"] == "'none'"
    assert directives["style-src"] == directives["img-src"] == "'self'"
    assert directives["frame-ancestors"] == "'none'"
    assert "script-src" not in directives
    assert not re.search(r"<style|url\(", api.get("/").text)
    assert "url(" not in api.get("/static/status.css").text


class _Down(MemoryCatalog):
    def _fail(self, *_: Any, **__: Any) -> Any:
        raise CatalogUnavailable("postgresql://user:secret@host is down")

    list_projects = list_sessions = _fail

    def health(self) -> tuple[bool, str, float]:
        return False, "no answer", 0.1


def test_the_page_comes_even_when_the_database_is_down(make_api: MakeApi) -> None:
    text = read(make_api(catalog=_Down(clock=SystemClock()))).text
    assert "catalog unavailable" in text and "no answer" in text and "secret" not in text
