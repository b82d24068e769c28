"""There is no sign-in yet, so the browser of someone on this machine is the way in that has to be shut."""

from __future__ import annotations

import pytest

from tests.support.api import Api, MakeApi


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:32180", "localhost.evil.example", "127.0.0.1.evil.example", "", "10.0.0.1", "[::2]",
     "localhost@evil.example", "evil.example#localhost", "localhost/x", "0.0.0.0", "a b", "[", "127.0.0.1:x"],
)  # fmt: skip
def test_a_name_that_was_rebound_to_this_machine_is_refused(api: Api, host: str) -> None:
    for path in ("/api/v1/projects", "/", "/health"):
        answer = api.raw("GET", path, {"Host": host})
        assert (answer.status, answer.json()["code"]) == (403, "denied"), host


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:32180", "[::1]", "[::1]:80", "127.1.2.3"]
)
def test_this_machines_own_names_are_taken(api: Api, host: str) -> None:
    assert api.raw("GET", "/api/v1/projects", {"Host": host}).status == 200


@pytest.mark.parametrize("scheme", ["http", "HTTP", "https"])
def test_an_address_may_say_its_server(api: Api, scheme: str) -> None:
    """RFC 9112, 3.2.2: a server has to take the absolute form, and the server that it names counts, not Host."""
    api.project()
    for host in ("127.0.0.1", "evil.example"):
        answer = api.raw(
            "PUT", f"{scheme}://localhost:{api.port}/api/v1/projects/demo/files/a%20b", {"Host": host}, b"x"
        )
        assert answer.status in (200, 201), answer.body
        assert api.raw("GET", f"{scheme}://[::1]/api/v1/projects?prefix=d", {"Host": host}).json()["items"]
        assert api.raw("GET", f"{scheme}://localhost", {"Host": host}).headers["content-type"].startswith("text/html")
        assert api.raw("GET", f"{scheme}://localhost?x=1", {"Host": host}).json()["details"] == {"parameter": "x"}
    assert api.get("/api/v1/projects/demo/files/a b").content == b"x"


@pytest.mark.parametrize(
    "authority",
    ["evil.example", "localhost.evil.example", "localhost@evil.example", "evil.example@localhost", "", ":80",
     "evil.example#localhost", "localhost\\@evil.example", "10.0.0.1", "localhost:x", "%6Cocalhost"],
)  # fmt: skip
def test_an_address_that_says_another_server_is_refused_whatever_host_says(api: Api, authority: str) -> None:
    answer = api.raw("GET", f"http://{authority}/api/v1/projects", {"Host": "localhost"})
    assert (answer.status, answer.json()["code"]) == (403, "denied")


def test_a_page_of_another_name_does_not_become_this_servers_by_the_address(api: Api) -> None:
    headers = {"Host": "evil.example", "Origin": "http://evil.example", "Content-Type": "application/json"}
    answer = api.raw("POST", "http://localhost/api/v1/projects", headers, b'{"name": "x"}')
    assert (answer.status, answer.json()["code"]) == (403, "denied")


def test_an_address_of_another_scheme_is_none_of_this_server(api: Api) -> None:
    assert api.raw("GET", "ftp://localhost/api/v1/projects", {"Host": "localhost"}).status == 404


def test_the_public_address_is_taken_too(make_api: MakeApi) -> None:
    api = make_api(SERVER_PUBLIC_URL="https://manifold.example:8443/x")
    assert api.raw("GET", "/api/v1/projects", {"Host": "manifold.example:8443"}).status == 200
    headers = {"Host": "manifold.example:8443", "Origin": "https://manifold.example:8443"}
    headers |= {"Content-Type": "application/json"}
    assert api.raw("POST", "/api/v1/projects", headers, b'{"name": "a"}').status == 201
    assert api.raw("GET", "/api/v1/projects", {"Host": "other.example"}).status == 403


def test_a_server_for_other_machines_takes_addresses_and_plain_names_but_no_strangers_domain(make_api: MakeApi) -> None:
    api = make_api(SERVER_HOST="0.0.0.0")
    for host in ("10.1.2.3:32180", "manifold:32180", "localhost", "[fd00::1]"):
        assert api.raw("GET", "/api/v1/projects", {"Host": host}).status == 200
    assert api.raw("GET", "/api/v1/projects", {"Host": "evil.example"}).status == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "https://127.0.0.1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
    ],
)
def test_another_sites_page_cannot_change_anything(api: Api, headers: dict[str, str]) -> None:
    project = api.project()
    for method, path in [
        ("POST", "/api/v1/projects"),
        ("PUT", "/api/v1/projects/demo/files/a"),
        ("DELETE", f"/api/v1/projects/{project}"),
        ("PATCH", "/api/v1/projects/demo"),
        ("POST", "/api/v1/sessions"),
    ]:
        answer = api.raw(method, path, headers, b'{"name": "x", "project": "demo"}')
        assert (answer.status, answer.json()["code"]) == (403, "denied")
    assert [item["name"] for item in api.get("/api/v1/projects").json()["items"]] == ["demo"]
    assert api.get("/api/v1/projects/demo").json()["generation"] == 0


def test_this_servers_own_page_and_programs_may_write(api: Api) -> None:
    own = {"Origin": f"http://127.0.0.1:{api.port}", "Sec-Fetch-Site": "same-origin"}
    assert api.post("/api/v1/projects", json={"name": "a"}, headers=own).status_code == 201
    assert api.post("/api/v1/projects", json={"name": "b"}).status_code == 201
    assert api.post("/api/v1/projects", json={"name": "c"}, headers={"Sec-Fetch-Site": "none"}).status_code == 201


def test_no_other_site_may_read_answers(api: Api) -> None:
    preflight = api.request(
        "OPTIONS",
        "/api/v1/projects",
        headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "PUT"},
    )
    assert preflight.status_code == 204
    for answer in (preflight, api.get("/api/v1/projects", headers={"Origin": "https://evil.example"})):
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize(
    "path", ["/", "/health", "/api/v1/projects", "/api/nothing", "/api/v1/projects/..", "/static/status.css"]
)
def test_every_answer_forbids_guessing_its_type_framing_and_scripts(api: Api, path: str) -> None:
    answer = api.raw("GET", path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "script-src" not in policy
    assert "server" not in answer.headers
