"""Who an API client says it is: keys, tokens, OAuth 2; and that nobody else learns of it."""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog

from headrace.config_api import ApiSource
from headrace.config_secrets import EnvironmentValue
from headrace.errors import ApiRefusedError, ApiUnavailableError
from headrace.logs import configure_logs
from headrace.paths import ProjectPaths
from headrace.producers.api.page import Page
from headrace.producers.api.request import page_request
from support import replay_answer as faults
from support.polled import PolledProject
from support.replay_answer import Seen
from support.replay_client import TurnedClock, api_client, api_source
from support.replay_recordings import open_meteo
from support.replay_server import ReplayServer
from support.replay_tokens import TokenIssuer

SEARCH = {"name": "Hollywood"}


@pytest.fixture
def server(server: ReplayServer, shared_data: Path) -> ReplayServer:
    server.serve(open_meteo(shared_data))
    return server


@pytest.fixture
def issuer(server: ReplayServer) -> Iterator[TokenIssuer]:
    """Gives tokens at /token; the API wants one."""
    issuer = TokenIssuer()
    server.handlers["/token"] = issuer
    server.expect_auth = issuer.problem
    yield issuer
    assert issuer.complaints == []


def search(server: ReplayServer, **keys: Any) -> ApiSource:
    return api_source(server.url + "/v1/search", query=SEARCH, **keys)


def oauth(issuer: TokenIssuer, server: ReplayServer, **keys: Any) -> dict[str, Any]:
    return {
        "kind": "oauth2",
        "token_url": server.url + "/token",
        "client_id": issuer.client_id,
        "client_secret": issuer.client_secret,
        **keys,
    }


def refreshing(issuer: TokenIssuer, server: ReplayServer) -> dict[str, Any]:
    first = issuer.refresh_token
    return oauth(issuer, server, grant="refresh_token", refresh_token=first)


async def fetch(source: ApiSource, root: Path, clock: TurnedClock | None = None) -> Page:
    async with api_client(source, root, clock) as client:
        return await client.fetch(page_request(source, {}))


def basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        ({"kind": "bearer", "token": "t0ken"}, "authorization", "Bearer t0ken"),
        (
            {"kind": "basic", "username": "müller", "password": "p:ß"},
            "authorization",
            basic("müller", "p:ß"),
        ),
        (
            {"kind": "api_key", "name": "x-cg-demo-api-key", "key": "CG-1"},
            "x-cg-demo-api-key",
            "CG-1",
        ),
        (
            {"kind": "api_key", "name": "Authorization", "key": "1", "prefix": "token "},
            "authorization",
            "token 1",
        ),
    ],
)
async def test_what_does_not_change_is_in_a_header(
    server: ReplayServer, tmp_path: Path, auth: dict[str, str], header: str, value: str
) -> None:
    await fetch(search(server, auth=auth), tmp_path)
    assert server.seen[0].header(header) == value


async def test_a_key_in_the_query_is_in_no_name(
    server: ReplayServer, shared_data: Path, tmp_path: Path
) -> None:
    recorded = next(e for e in open_meteo(shared_data) if "customer-api" in e.host)
    query = {name: value for name, value in recorded.query if name != "apikey"}
    auth = {"kind": "api_key", "place": "query", "name": "apikey", "key": "123-test"}
    source = api_source(server.url + recorded.path, query=query, auth=auth)
    page = await fetch(source, tmp_path)
    assert server.seen[0].argument("apikey") == "123-test"
    assert "apikey" not in page.url
    assert "apikey" not in page.exchange.url


async def test_who_is_not_known_is_told_to_look_at_auth(
    server: ReplayServer, issuer: TokenIssuer, tmp_path: Path
) -> None:
    source = search(server, auth={"kind": "bearer", "token": "wrong-token"})
    with pytest.raises(ApiRefusedError, match="401 Unauthorized: Bad credentials") as error:
        await fetch(source, tmp_path)
    assert "wrong-token" not in str(error.value)
    assert error.value.remedy is not None
    assert "auth" in error.value.remedy
    assert len(server.seen) == 1


async def test_a_credential_that_http_cannot_carry_is_refused_unseen(
    server: ReplayServer, tmp_path: Path
) -> None:
    source = search(server, auth={"kind": "bearer", "token": "s3cret\r\nX-Evil: 1"})
    with pytest.raises(ApiRefusedError, match="cannot be sent") as error:
        await fetch(source, tmp_path)
    assert "s3cret" not in str(error.value)
    assert server.seen == []


# --- OAuth 2.


@pytest.mark.parametrize("client_auth", ["basic", "body"])
async def test_client_credentials_bring_a_token_for_as_long_as_it_holds(
    server: ReplayServer, issuer: TokenIssuer, tmp_path: Path, client_auth: str
) -> None:
    clock = TurnedClock()
    auth = oauth(
        issuer,
        server,
        client_auth=client_auth,
        scope="read:prices",
        parameters={"audience": "prices"},
    )
    source = search(server, auth=auth)
    async with api_client(source, tmp_path, clock) as client:
        for _ in range(3):
            await client.fetch(page_request(source, {}))
        assert len(issuer.issued) == 1
        clock.now += 3_600 - 61
        await client.fetch(page_request(source, {}))
        assert len(issuer.issued) == 1
        clock.now += 2
        await client.fetch(page_request(source, {}))  # renewed before it expires
    assert len(issuer.issued) == 2
    assert all(seen.header("authorization") for seen in server.seen if seen.path != "/token")
    assert issuer.asked[0]["scope"] == "read:prices"
    assert issuer.asked[0]["audience"] == "prices"
    assert "client_secret" not in issuer.asked[0] or client_auth == "body"


@pytest.mark.parametrize("expires_in", [None, "3600", 0, 5])
async def test_a_token_s_life_may_be_told_in_odd_ways(
    server: ReplayServer, issuer: TokenIssuer, tmp_path: Path, expires_in: float | str | None
) -> None:
    issuer.expires_in = expires_in
    source = search(server, auth=oauth(issuer, server))
    async with api_client(source, tmp_path) as client:
        for _ in range(2):
            assert (await client.fetch(page_request(source, {}))).status == 200
    assert len(issuer.issued) == (2 if expires_in == 0 else 1)


async def test_a_token_that_ends_early_is_renewed_once_for_all_requests(
    server: ReplayServer, issuer: TokenIssuer, tmp_path: Path
) -> None:
    source = search(server, auth=refreshing(issuer, server), concurrency=8)
    async with api_client(source, tmp_path) as client:
        requests = [client.fetch(page_request(source, {})) for _ in range(8)]
        assert {page.status for page in await asyncio.gather(*requests)} == {200}
        assert len(issuer.issued) == 1
        issuer.expire()
        requests = [client.fetch(page_request(source, {})) for _ in range(8)]
        assert {page.status for page in await asyncio.gather(*requests)} == {200}
    assert len(issuer.issued) == 2


async def test_a_token_that_is_never_good_is_renewed_once_and_then_refused(
    server: ReplayServer, issuer: TokenIssuer, tmp_path: Path
) -> None:
    server.expect_auth = lambda seen: None if seen.path == "/token" else "revoked"
    with pytest.raises(ApiRefusedError, match="401"):
        await fetch(search(server, auth=oauth(issuer, server)), tmp_path)
    assert len(issuer.issued) == 2
    assert len([seen for seen in server.seen if seen.path != "/token"]) == 2


async def test_a_rotated_refresh_token_outlives_the_process(
    server: ReplayServer, issuer: TokenIssuer, tmp_path: Path
) -> None:
    source = search(server, auth=refreshing(issuer, server))
    for _ in range(3):  # each another process, as far as that matters
        assert (await fetch(source, tmp_path)).status == 200
    assert [form["refresh_token"] for form in issuer.asked] == [
        "refresh-token-0",
        "refresh-token-1",
        "refresh-token-2",
    ]
    kept = ProjectPaths(tmp_path).tokens / "prices.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.parent.stat().st_mode & 0o777 == 0o700
    assert "refresh-token-0" not in kept.read_text()


async def test_a_new_refresh_token_in_the_config_takes_the_place_of_the_kept_one(
    server: ReplayServer, issuer: TokenIssuer, tmp_path: Path
) -> None:
    await fetch(search(server, auth=refreshing(issuer, server)), tmp_path)
    issuer.refresh_token = "from-a-new-login"
    await fetch(search(server, auth=refreshing(issuer, server)), tmp_path)
    assert issuer.asked[-1]["refresh_token"] == "from-a-new-login"


async def test_two_processes_do_not_use_a_refresh_token_twice(
    server: ReplayServer, issuer: TokenIssuer, tmp_path: Path
) -> None:
    source = search(server, auth=refreshing(issuer, server))
    async with api_client(source, tmp_path) as one, api_client(source, tmp_path) as other:
        request = page_request(source, {})
        for _ in range(3):
            pages = await asyncio.gather(one.fetch(request), other.fetch(request))
            assert {page.status for page in pages} == {200}
            issuer.expire()


async def test_a_refresh_token_that_is_kept_again_stays(
    server: ReplayServer, issuer: TokenIssuer, tmp_path: Path
) -> None:
    issuer.rotates = False
    source = search(server, auth=refreshing(issuer, server))
    for _ in range(2):
        await fetch(source, tmp_path)
    assert [form["refresh_token"] for form in issuer.asked] == ["refresh-token-0"] * 2


async def test_a_server_of_tokens_that_is_down_is_asked_again(
    server: ReplayServer, issuer: TokenIssuer, tmp_path: Path
) -> None:
    clock = TurnedClock()
    server.err(faults.status(503), faults.body_cut)
    source = search(server, auth=oauth(issuer, server))
    assert (await fetch(source, tmp_path, clock)).status == 200
    assert len(clock.sleeps) == 2

    server.always = faults.status(503)
    with pytest.raises(ApiUnavailableError, match="the server of tokens answered 503"):
        await fetch(source, tmp_path, clock)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (faults.status(401, b'{"error":"invalid_client"}'), "401 Unauthorized: invalid_client"),
        (faults.not_json, "gave no access token: 200"),
        (faults.redirect("http://127.0.0.1:9/"), "gave no access token: 302"),
        (faults.status(200, b'{"access_token":"a\\nb"}'), "gave no access token: 200"),
    ],
)
async def test_no_token_is_an_error_that_says_why(
    server: ReplayServer, issuer: TokenIssuer, tmp_path: Path, fault: faults.Fault, said: str
) -> None:
    server.always = fault
    with pytest.raises(ApiRefusedError, match=said) as error:
        await fetch(search(server, auth=oauth(issuer, server)), tmp_path)
    assert issuer.client_secret not in str(error.value)


# --- A token in a file.


async def test_a_token_s_file_is_read_again_when_it_changes(
    server: ReplayServer, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("first-token\n")
    source = search(server, auth={"kind": "token_file", "path": "token"})
    async with api_client(source, tmp_path) as client:
        await client.fetch(page_request(source, {}))
        (tmp_path / "new").write_text("other-token\n")
        (tmp_path / "new").rename(file)
        await client.fetch(page_request(source, {}))
        file.write_bytes(b"")  # emptied, and not yet written
        await client.fetch(page_request(source, {}))
    assert [seen.header("authorization") for seen in server.seen] == [
        "Bearer first-token",
        "Bearer other-token",
        "Bearer other-token",
    ]


async def test_a_token_s_file_is_read_again_after_a_401(
    server: ReplayServer, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("token-1")
    stamp = file.stat()

    def wants(seen: Seen) -> str | None:
        if seen.header("x-token") == "token-2":
            return None
        file.write_text("token-2")  # in place, within the clock's resolution
        os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        return "expired"

    server.expect_auth = wants
    auth = {"kind": "token_file", "path": str(file), "name": "X-Token", "prefix": ""}
    assert (await fetch(search(server, auth=auth), tmp_path)).status == 200
    assert [seen.header("x-token") for seen in server.seen] == ["token-1", "token-2"]


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "No such file"), (b"", "has no token"), (b"caf\xc3\xa9", "has no token")],
)
async def test_a_token_s_file_without_a_token_is_an_error(
    server: ReplayServer, tmp_path: Path, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    source = search(server, auth={"kind": "token_file", "path": "token"})
    with pytest.raises(ApiRefusedError, match=said):
        await fetch(source, tmp_path)
    assert server.seen == []


# --- Secrets.


def of_the_api(fault: faults.Fault, seen: Seen, answer: faults.Answer) -> faults.Answer:
    return answer if seen.path == "/token" else fault(seen, answer)


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """All that is logged."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    out = io.StringIO()
    configure_logs(stream=out, environment={"HEADRACE_LOG_LEVEL": "debug"})
    yield out
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)


async def test_no_secret_is_in_logs_errors_or_what_is_kept(
    server: ReplayServer,
    issuer: TokenIssuer,
    tmp_path: Path,
    logged: io.StringIO,
) -> None:
    secrets = {
        "query": "quer/y-s3cret ü",
        "header": 'header-"s3cret"',
        "client": issuer.client_secret,
        "refresh": issuer.refresh_token,
    }
    source = api_source(
        server.url + "/v1/search",
        query={"key_of_ours": EnvironmentValue(secrets["query"]), **SEARCH},
        headers={"X-Ours": EnvironmentValue(secrets["header"])},
        auth=refreshing(issuer, server),
    )
    server.ignored = {"key_of_ours"}

    def echo(seen: Seen, answer: faults.Answer) -> faults.Answer:
        said = f"no: {seen.target} {dict(seen.headers)} {seen.body.decode()}".encode()
        return replace(answer, status=503, headers=(("X-Echo", seen.target),), body=said)

    def echo_in_headers(seen: Seen, answer: faults.Answer) -> faults.Answer:
        echoed = answer.with_header("Link", f'<{server.url}{seen.target}&page=2>; rel="next"')
        return echoed.with_header("X-Echo", seen.header("authorization") or "")

    shown = []
    server.err(faults.fine, echo)
    page = await fetch(source, tmp_path)
    shown.append(repr(page))
    server.err(faults.fine, echo_in_headers)
    page = await fetch(source, tmp_path)
    shown.append(repr(page.exchange))
    assert "page=2" in shown[-1]
    for fault in (echo, faults.status(404)):
        server.always = partial(of_the_api, fault)
        with pytest.raises((ApiUnavailableError, ApiRefusedError)) as error:
            await fetch(source, tmp_path)
        shown.append(str(error.value))
    shown.append(repr(page_request(source, {})))
    shown.append(logged.getvalue())
    assert "api_request_again" in shown[-1]
    everything = "\n".join(shown)
    for secret in (*secrets.values(), *issuer.issued, "quer%2Fy", "s3cret"):
        assert secret not in everything


async def test_no_secret_is_on_disk_but_among_the_tokens(
    server: ReplayServer, issuer: TokenIssuer, tmp_path: Path
) -> None:
    source = api_source(
        server.url + "/v1/search",
        query={"key_of_ours": EnvironmentValue("query-s3cret"), "page": 1, **SEARCH},
        headers={"X-Ours": EnvironmentValue("header-s3cret")},
        auth=refreshing(issuer, server),
        daily_budget=100,
        pagination={"kind": "link"},
        records="results",
    )
    server.ignored = {"key_of_ours", "page"}

    def leads_on(seen: Seen, answer: faults.Answer) -> faults.Answer:
        if seen.argument("page") != "1" or seen.path == "/token":
            return answer
        following = f"{server.url}{seen.target}".replace("page=1", "page=2")
        body = gzip.compress(gzip.decompress(answer.body) + b" ")
        answer = replace(answer, body=body)
        return answer.with_header("Link", f'<{following}>; rel="next"')

    server.always = leads_on
    project = PolledProject(tmp_path, source)
    await project.poll_well()
    assert [row.state.value for row in project.rows] == ["received", "received"]
    secrets = ("query-s3cret", "header-s3cret", issuer.client_secret, *issuer.issued)
    kept = [path for path in project.paths.state.rglob("*") if path.is_file()]
    assert any(path.name == "exchange.json" for path in kept)
    for path in kept:
        content = path.read_bytes()
        for secret in secrets:
            assert secret.encode() not in content, path
        if path.parent != project.paths.tokens:
            assert issuer.refresh_token.encode() not in content, path
    for row in project.rows:
        assert "s3cret" not in row.name
    assert project.cursors["requests"] == "2021-04-01 2"


@pytest.mark.parametrize(
    "keys",
    [
        {"auth": {"kind": "api_key", "name": "k", "key": "key-s3cret", "place": "query"}},
        {"query": {"k": EnvironmentValue("key-s3cret")}},
    ],
)
async def test_a_key_hidden_in_the_link_of_a_page_that_came_before_is_sent_all_the_same(
    server: ReplayServer, tmp_path: Path, keys: dict[str, Any]
) -> None:
    def items(seen: Seen) -> faults.Answer:
        page = seen.argument("page") or "1"
        following = f'<{server.url}/items?k={seen.argument("k")}&page=2>; rel="next"'
        headers = [("ETag", f'"{page}"'), *([("Link", following)] if page == "1" else [])]
        if seen.header("if-none-match") == f'"{page}"':
            return faults.Answer(304)
        return faults.json_answer(b'[{"page":%s}]' % page.encode(), 200, *headers)

    server.handlers["/items"] = items
    server.expect_auth = lambda seen: None if seen.argument("k") == "key-s3cret" else "no key"
    source = api_source(server.url + "/items", pagination={"kind": "link"}, **keys)
    project = PolledProject(tmp_path, source)
    for _ in range(2):
        await project.poll_well()
    assert [seen.argument("page") for seen in server.seen] == [None, "2", None, "2"]
    assert [len(seen.query) for seen in server.seen] == [1, 2, 1, 2]
