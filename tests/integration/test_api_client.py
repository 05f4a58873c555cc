"""The API client against recorded real exchanges: what it sends, and what it makes of answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from headrace.config_api import ApiSource
from headrace.config_secrets import EnvironmentValue
from headrace.errors import (
    ApiBudgetError,
    ApiContentError,
    ApiRefusedError,
    ApiTooLargeError,
    ApiUnavailableError,
)
from headrace.producers.api.page import Page, PageRequest
from headrace.producers.api.request import page_request
from support import replay_answer as faults
from support.replay_answer import Fault
from support.replay_client import NOON, KeptCursors, TurnedClock, api_client, api_source
from support.replay_recordings import coingecko, github, open_meteo
from support.replay_server import ReplayServer, replay_server

ISSUES = "/repos/octokit-fixture-org/paginate-issues/issues"


@pytest.fixture(scope="module")
def another_server() -> Iterator[ReplayServer]:
    with replay_server() as server:
        yield server


@pytest.fixture
def stranger(another_server: ReplayServer) -> Iterator[ReplayServer]:
    """A server at another place, which gets no credentials."""
    another_server.reset()
    another_server.is_stranger = True
    yield another_server
    assert another_server.complaints == []


@pytest.fixture
def clock(server: ReplayServer) -> TurnedClock:
    """The client's and the server's clock."""
    clock = TurnedClock()
    server.clock = clock.seconds
    return clock


@pytest.fixture
def prices(server: ReplayServer, shared_data: Path) -> ApiSource:
    """CoinGecko's markets, of one coin."""
    server.serve(coingecko(shared_data))
    return markets(server)


def markets(server: ReplayServer, **keys: Any) -> ApiSource:
    url = server.url + "/api/v3/coins/markets"
    return api_source(url, query={"ids": "bitcoin", "vs_currency": "usd"}, **keys)


async def fetch(
    source: ApiSource,
    root: Path,
    clock: TurnedClock | None = None,
    cursors: KeptCursors | None = None,
    request: PageRequest | None = None,
) -> Page:
    async with api_client(source, root, clock, cursors) as client:
        return await client.fetch(request or page_request(source, {}))


def is_the_page(page: Page) -> bool:
    return bool(json.loads(page.body)[0]["current_price"] == 49053)


# --- What is asked for.


async def test_a_page_is_the_recorded_answer(prices: ApiSource, tmp_path: Path) -> None:
    page = await fetch(prices, tmp_path)
    assert page.status == 200
    assert is_the_page(page)
    assert page.url == f"{prices.url}?ids=bitcoin&vs_currency=usd"
    assert page.exchange.url == page.url
    assert dict(page.exchange.headers)["content-type"] == "application/json; charset=utf-8"
    assert page.received_at == datetime.fromtimestamp(NOON, UTC)


async def test_variables_go_into_path_query_and_headers(
    server: ReplayServer, shared_data: Path, tmp_path: Path
) -> None:
    server.serve(coingecko(shared_data))
    source = api_source(
        server.url + "/api/v3/coins/{ id }/market_chart",
        query={"days": 90, "interval": "{every}", "vs_currency": "usd"},
        headers={"X-Wanted": "{id}", "User-Agent": "prices of shop (ops@shop.example)"},
        variables={"id": "bitcoin", "every": "daily"},
    )
    async with api_client(source, tmp_path) as client:
        page = await client.fetch(page_request(source, {"id": "bitcoin", "every": "daily"}))
    assert len(json.loads(page.body)["prices"]) == 91
    assert server.seen[0].header("x-wanted") == "bitcoin"
    agent = server.seen[0].header("user-agent") or ""
    assert agent.startswith("prices of shop (ops@shop.example) headrace/")


async def test_packed_answers_are_unpacked(
    server: ReplayServer, shared_data: Path, tmp_path: Path
) -> None:
    server.serve(open_meteo(shared_data))
    source = api_source(server.url + "/v1/search", query={"name": "Hollywood", "count": 20})
    page = await fetch(source, tmp_path)
    assert len(json.loads(page.body)["results"]) == 20
    assert page.header("content-encoding") is None
    assert server.seen[0].header("accept-encoding") == "gzip, deflate"


@pytest.mark.parametrize("packing", [faults.bare_deflate, faults.fine])
async def test_other_packings_are_unpacked(
    prices: ApiSource, server: ReplayServer, tmp_path: Path, packing: Fault
) -> None:
    server.err(packing)
    assert is_the_page(await fetch(prices, tmp_path))


@pytest.mark.parametrize(
    ("body", "content_type", "sent"),
    [
        (
            {"json": {"id": "{id}", "n": [1, "{id}"]}},
            "application/json",
            b'{"id":"a&b","n":[1,"a&b"]}',
        ),
        ({"form": {"id": "{id}", "n": 1}}, "application/x-www-form-urlencoded", b"id=a%26b&n=1"),
    ],
)
async def test_a_post_sends_json_or_a_form(
    server: ReplayServer, tmp_path: Path, body: dict[str, Any], content_type: str, sent: bytes
) -> None:
    server.handlers["/query"] = lambda _seen: faults.json_answer(b"[]")
    source = api_source(server.url + "/query", method="POST", body=body, variables={"id": "a&b"})
    async with api_client(source, tmp_path) as client:
        await client.fetch(page_request(source, {"id": "a&b"}))
    assert server.seen[0].method == "POST"
    assert server.seen[0].header("content-type") == content_type
    assert server.seen[0].body == sent


async def test_links_are_followed_page_by_page_with_conditions(
    server: ReplayServer, shared_data: Path, tmp_path: Path
) -> None:
    server.serve(github(shared_data, "paginate-issues"))
    server.begin_pages_at(f"{ISSUES}?per_page=3")
    source = api_source(server.url + ISSUES, query={"per_page": 3})
    issues, pages = [], []
    async with api_client(source, tmp_path) as client:
        request = page_request(source, {})
        while True:
            page = await client.fetch(request)
            pages.append((request, page))
            issues += json.loads(page.body)
            link = page.header("link") or ""
            following = [part for part in link.split(",") if 'rel="next"' in part]
            if not following:
                break
            request = PageRequest(following[0].split(">")[0].strip(" <"))
        assert len(issues) == 13
        assert len(pages) == 5
        for request, page in pages:
            again = await client.fetch(replace(request, validators=page.validators))
            assert again.not_modified
            assert again.is_empty
    assert server.seen[-1].header("if-none-match") == pages[-1][1].header("etag")


async def test_an_empty_answer_is_an_empty_page(server: ReplayServer, tmp_path: Path) -> None:
    for status in (204, 205):
        server.handlers["/empty"] = partial(faults.nothing, status)
        page = await fetch(api_source(server.url + "/empty"), tmp_path)
        assert page.status == status
        assert page.is_empty


# --- What the server will not do.


async def test_what_the_server_said_is_in_the_error(
    prices: ApiSource, server: ReplayServer, tmp_path: Path
) -> None:
    source = api_source(prices.url)
    with pytest.raises(
        ApiRefusedError, match=r"422 Unprocessable.*Missing parameter vs_currency"
    ) as error:
        await fetch(source, tmp_path)
    assert error.value.status == 422
    assert "sources.prices: GET http://127.0.0.1" in error.value.message
    assert len(server.seen) == 1


async def test_an_error_of_a_terminal_s_codes_is_one_short_line(
    server: ReplayServer, tmp_path: Path
) -> None:
    server.always = faults.status(400, b"\x1b[2Jgone\r\n" + b"x" * 100_000)
    with pytest.raises(ApiRefusedError) as error:
        await fetch(api_source(server.url + "/"), tmp_path)
    assert "\x1b" not in error.value.message
    assert "\n" not in error.value.message
    assert len(error.value.message) < 400


# --- What passes.


@pytest.mark.parametrize(
    "fault",
    [
        faults.status(500),
        faults.status(502, b"<html>Bad gateway</html>"),
        faults.status(202, b"{}"),
        faults.body_cut,
        faults.gzip_cut,
        faults.packed_as("gzip"),
        faults.broken_json,
        faults.not_json,
    ],
)
async def test_what_passes_is_tried_again_after_a_growing_wait(
    prices: ApiSource, server: ReplayServer, clock: TurnedClock, tmp_path: Path, fault: Fault
) -> None:
    server.err(fault, fault)
    assert is_the_page(await fetch(prices, tmp_path, clock))
    first, second = clock.sleeps
    assert 1 <= first <= 2
    assert 2 <= second <= 3


async def test_a_server_that_stays_bad_is_given_up(
    server: ReplayServer, shared_data: Path, clock: TurnedClock, tmp_path: Path
) -> None:
    server.serve(coingecko(shared_data))
    source = api_source(server.url + "/api/v3/coins/bitcoin/ohlc")  # recorded as a 500
    with pytest.raises(ApiUnavailableError, match=r"500.*Internal Server Error.*tried 5 times"):
        await fetch(source, tmp_path, clock)
    assert len(server.seen) == 5


@pytest.mark.parametrize("method", ["GET", "POST"])  # of which nothing was sent
async def test_nobody_there_is_given_up(tmp_path: Path, clock: TurnedClock, method: str) -> None:
    with replay_server() as gone:
        url = gone.url
    with pytest.raises(ApiUnavailableError, match=r"no connection.*tried 5 times"):
        await fetch(api_source(url, method=method), tmp_path, clock)


async def test_giving_up_comes_before_the_time_is_over(
    server: ReplayServer, clock: TurnedClock, tmp_path: Path
) -> None:
    server.always = faults.status(503)
    source = api_source(server.url, retries={"attempts": 50, "give_up_after": "1m"})
    with pytest.raises(ApiUnavailableError, match="503"):
        await fetch(source, tmp_path, clock)
    assert 20 < clock.slept <= 60


@pytest.mark.parametrize(
    ("fault", "timeouts", "said"),
    [
        (faults.hang, {"read": "50ms"}, "nothing came for 0.05 s"),
        (faults.dribble(0.01), {"total": "100ms"}, "no whole answer within 0.1 s"),
    ],
)
async def test_a_slow_answer_is_not_waited_for(
    server: ReplayServer,
    shared_data: Path,
    tmp_path: Path,
    fault: Fault,
    timeouts: dict[str, str],
    said: str,
) -> None:
    server.serve(coingecko(shared_data))
    server.always = fault
    source = markets(server, timeouts=timeouts, retries={"attempts": 2})
    with pytest.raises(ApiUnavailableError, match=said):
        await fetch(source, tmp_path)
    assert len(server.seen) == 2


async def test_a_post_is_sent_again_only_where_nothing_can_have_happened(
    server: ReplayServer, clock: TurnedClock, tmp_path: Path
) -> None:
    server.handlers["/query"] = lambda _seen: faults.json_answer(b"[]")
    source = api_source(server.url + "/query", method="POST", body={"json": {}})
    server.err(faults.status(500))
    with pytest.raises(ApiUnavailableError, match="may have been carried out") as error:
        await fetch(source, tmp_path, clock)
    assert "safe_to_repeat" in str(error.value)
    assert len(server.seen) == 1

    server.err(faults.too_many_in_seconds(3))
    assert (await fetch(source, tmp_path, clock)).status == 200
    assert len(server.seen) == 3

    safe = source.model_copy(update={"safe_to_repeat": True})
    server.err(faults.status(500), faults.body_cut)
    assert (await fetch(safe, tmp_path, clock)).status == 200


async def test_a_page_of_another_content_type_is_one_if_it_is_json(
    prices: ApiSource, server: ReplayServer, tmp_path: Path
) -> None:
    server.err(faults.called("text/plain"))
    assert is_the_page(await fetch(prices, tmp_path))


async def test_a_login_page_is_no_page(
    prices: ApiSource, server: ReplayServer, clock: TurnedClock, tmp_path: Path
) -> None:
    server.always = faults.not_json
    with pytest.raises(ApiContentError, match=r"not JSON \(text/html\): .*Please sign in"):
        await fetch(prices, tmp_path, clock)


async def test_what_is_expected_as_anything_is_taken_as_it_is(
    prices: ApiSource, server: ReplayServer, tmp_path: Path
) -> None:
    server.err(faults.not_json)
    request = page_request(prices, {}, expected="any")
    assert b"sign in" in (await fetch(prices, tmp_path, request=request)).body


@asynccontextmanager
async def raw_server(*answers: bytes) -> AsyncIterator[str]:
    """A server that sends these bytes, one for each request, whatever they are."""
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while left:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(left.pop(0))
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "wrong",
    [
        OK + b'Content-Length: 4\r\n\r\n{"a": 1}',  # says less than it sends
        OK + b"Content-Length: 4\r\nContent-Length: 8\r\n\r\n[1]",
        OK + b"Content-Length: -1\r\n\r\n[1]",
        OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"220 smtp.example.com ESMTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-Padding: x\r\n" * 20_000 + b"\r\n",
    ],
)
async def test_what_is_no_whole_http_is_tried_again(
    tmp_path: Path, clock: TurnedClock, wrong: bytes
) -> None:
    right = OK + b"Content-Length: 2\r\n\r\n[]"
    async with raw_server(wrong, right, right) as url:
        page = await fetch(api_source(url, timeouts={"read": "1s"}), tmp_path, clock)
    assert page.body == b"[]"
    assert 1 <= len(clock.sleeps) <= 2  # what was left over comes before the next answer


# --- Sizes.


@pytest.mark.parametrize(
    "fault",
    [faults.huge(2_000_000), faults.gzip_bomb(50_000_000), faults.gzip_bomb(2_000_000)],
)
async def test_an_answer_over_the_limit_is_not_taken(
    server: ReplayServer, shared_data: Path, tmp_path: Path, fault: Fault
) -> None:
    server.serve(coingecko(shared_data))
    server.err(fault)
    with pytest.raises(ApiTooLargeError, match="larger than 1,000,000 bytes"):
        await fetch(markets(server, max_response="1MB"), tmp_path)
    assert len(server.seen) == 1


async def test_what_nobody_asked_for_is_not_unpacked(
    prices: ApiSource, server: ReplayServer, tmp_path: Path
) -> None:
    for fault in (faults.gzip_bomb(1_000_000, times=2), faults.packed_as("br")):
        server.err(fault)
        with pytest.raises(ApiContentError, match="packed as"):
            await fetch(prices, tmp_path)


# --- Rate limits and the budget.


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [
        (faults.too_many_in_seconds(7), 7),
        (faults.too_many_until(9, datetime.fromtimestamp(NOON, UTC)), 9),
        (faults.too_many_until(9, datetime(2001, 2, 3, tzinfo=UTC)), 9),  # by its own clock
        (faults.too_many_untold(), 60),
        (faults.github_limit(NOON + 30, wait=30), 30),
        (faults.github_limit(NOON + 30, wait=30, status=429), 30),
    ],
)
async def test_a_limit_is_waited_out_as_the_server_says(
    prices: ApiSource,
    server: ReplayServer,
    clock: TurnedClock,
    tmp_path: Path,
    fault: Fault,
    seconds: float,
) -> None:
    server.err(fault)
    assert is_the_page(await fetch(prices, tmp_path, clock))
    assert seconds <= clock.slept < seconds + 1


async def test_after_the_last_request_of_a_limit_the_next_one_waits(
    prices: ApiSource, server: ReplayServer, clock: TurnedClock, tmp_path: Path
) -> None:
    def last_one(_seen: faults.Seen, answer: faults.Answer) -> faults.Answer:
        answer = replace(answer, not_before=40.0)
        answer = answer.with_header("Date", "Sun, 18 Oct 2026 12:00:00 GMT")
        answer = answer.with_header("X-RateLimit-Remaining", "0")
        return answer.with_header("X-RateLimit-Reset", str(int(NOON + 40)))

    server.err(last_one)
    async with api_client(prices, tmp_path, clock) as client:
        await client.fetch(page_request(prices, {}))
        assert clock.slept == 0
        await client.fetch(page_request(prices, {}))
    assert clock.slept == 40


async def test_a_server_that_wants_long_to_itself_is_left_alone_even_by_the_next_process(
    prices: ApiSource, server: ReplayServer, clock: TurnedClock, tmp_path: Path
) -> None:
    server.err(faults.too_many_in_seconds(3_000))
    cursors = KeptCursors()
    until = datetime.fromtimestamp(NOON, UTC) + timedelta(seconds=3_000)
    for _ in range(2):
        with pytest.raises(ApiUnavailableError, match="12:50:00 UTC") as error:
            await fetch(prices, tmp_path, clock, cursors)
        assert error.value.until == until
    assert len(server.seen) == 1
    assert clock.slept == 0
    clock.now += 3_001
    assert is_the_page(await fetch(prices, tmp_path, clock, cursors))


async def test_the_config_s_rate_holds(
    server: ReplayServer, shared_data: Path, clock: TurnedClock, tmp_path: Path
) -> None:
    server.serve(coingecko(shared_data))
    source = markets(server, rate_limit={"requests": 3, "per": "10s"})
    server.err(faults.fine, faults.status(500))  # what is sent again counts as well
    async with api_client(source, tmp_path, clock) as client:
        for _ in range(7):
            await client.fetch(page_request(source, {}))
    times = [seen.at for seen in server.seen]
    assert len(times) == 8
    assert times[3] - times[0] == pytest.approx(10)
    assert all(late - early >= 10 for early, late in zip(times, times[3:], strict=False))


async def test_no_more_requests_than_the_concurrency_are_under_way(
    server: ReplayServer, tmp_path: Path
) -> None:
    under_way, most = 0, 0

    def handler(_seen: faults.Seen) -> faults.Answer:
        async def pieces() -> Any:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.01)
            under_way -= 1
            yield b"[]"

        return replace(faults.json_answer(b"[]"), pieces=pieces)

    server.handlers["/slow"] = handler
    source = api_source(server.url + "/slow", concurrency=2)
    async with api_client(source, tmp_path) as client:
        await asyncio.gather(*(client.fetch(page_request(source, {})) for _ in range(8)))
    assert most == 2


async def test_the_day_s_budget_counts_what_was_sent_and_outlives_the_process(
    server: ReplayServer, shared_data: Path, clock: TurnedClock, tmp_path: Path
) -> None:
    server.serve(coingecko(shared_data))
    source = markets(server, daily_budget=3)
    cursors = KeptCursors()
    server.err(faults.status(500))
    await fetch(source, tmp_path, clock, cursors)  # two requests
    await fetch(source, tmp_path, clock, cursors)
    with pytest.raises(ApiBudgetError, match="3 requests of daily_budget are spent") as error:
        await fetch(source, tmp_path, clock, cursors)
    assert len(server.seen) == 3
    assert error.value.until == datetime(2026, 10, 19, tzinfo=UTC)
    clock.now = error.value.until.timestamp()
    await fetch(source, tmp_path, clock, cursors)
    assert len(server.seen) == 4


async def test_what_is_spent_is_counted_before_it_is_sent(
    server: ReplayServer, shared_data: Path, tmp_path: Path
) -> None:
    server.serve(coingecko(shared_data))
    cursors = KeptCursors()
    counted = []

    def look(_seen: faults.Seen, answer: faults.Answer) -> faults.Answer:
        counted.append(cursors.cursor("prices", "requests"))
        return answer

    server.always = look
    await fetch(markets(server, daily_budget=9), tmp_path, cursors=cursors)
    assert counted == ["2026-10-18 1"]


# --- Redirects.


async def test_a_renamed_repository_is_found_where_it_is_now(
    server: ReplayServer, shared_data: Path, tmp_path: Path
) -> None:
    server.serve(github(shared_data, "rename-repository"))
    source = api_source(
        server.url + "/repos/octokit-fixture-org/rename-repository",
        auth={"kind": "bearer", "token": "github-token"},
    )
    page = await fetch(source, tmp_path)
    assert json.loads(page.body)["name"] == "rename-repository-newname"
    assert page.url == server.url + "/repositories/1000"
    assert [seen.header("authorization") for seen in server.seen] == ["Bearer github-token"] * 2


@pytest.mark.parametrize(
    "keys",
    [
        {"auth": {"kind": "bearer", "token": "sekrit-value"}},
        {"auth": {"kind": "basic", "username": "me", "password": "sekrit-value"}},
        {"auth": {"kind": "api_key", "name": "X-Custom", "key": "sekrit-value"}},
        {"auth": {"kind": "api_key", "name": "key", "key": "sekrit-value", "place": "query"}},
        {"headers": {"X-Api-Key": "sekrit-value", "Cookie": "session=sekrit-value"}},
    ],
)
async def test_another_host_gets_no_credentials(
    server: ReplayServer,
    stranger: ReplayServer,
    shared_data: Path,
    tmp_path: Path,
    keys: dict[str, Any],
) -> None:
    archive = github(shared_data, "get-archive")
    stranger.serve(archive)
    stranger.secrets = ("sekrit-value", "bWU6c2Vrcml0LXZhbHVl")
    server.serve(archive, hosts={"https://codeload.github.com": stranger.url})
    server.ignored = {"key"}
    source = api_source(server.url + "/repos/octokit-fixture-org/get-archive/tarball/main", **keys)
    request = page_request(source, {}, expected="any")
    page = await fetch(source, tmp_path, request=request)
    assert page.body.startswith(b"\x1f\x8b")
    assert server.seen[0].has("sekrit-value") or server.seen[0].has("bWU6c2Vrcml0LXZhbHVl")
    assert len(stranger.seen) == 1

    # Nor does one that a page names as the next.
    async with api_client(source, tmp_path) as client:
        await client.fetch(replace(request, url=page.url, query=()))
    assert len(stranger.seen) == 2


@pytest.mark.parametrize(
    "keys",
    [
        {"auth": {"kind": "api_key", "name": "k", "key": "sekrit-value", "place": "query"}},
        {"query": {"page": 1, "k": EnvironmentValue("sekrit-value")}},
        {"query": {"page": 1, "k": EnvironmentValue("sek:/rit")}},
    ],
)
async def test_a_key_that_a_redirect_takes_along_is_left_behind(
    server: ReplayServer, stranger: ReplayServer, tmp_path: Path, keys: dict[str, Any]
) -> None:
    stranger.secrets = ("sekrit-value", "sek:/rit", "sek%3A/rit")
    for each in (server, stranger):
        each.handlers["/moved"] = lambda _seen: faults.json_answer(b"[]")
    source = api_source(server.url + "/from", **{"query": {"page": 1}, **keys})

    def along(to: str, seen: faults.Seen) -> faults.Answer:
        return faults.Answer(307, (("Location", to + seen.target.removeprefix("/from")),))

    server.handlers["/from"] = partial(along, stranger.url + "/moved")
    page = await fetch(source, tmp_path)
    assert page.url == stranger.url + "/moved?page=1"
    assert [seen.query for seen in stranger.seen] == [(("page", "1"),)]

    server.handlers["/from"] = partial(along, server.url + "/moved")
    page = await fetch(source, tmp_path)
    assert sorted(server.seen[-1].query) == sorted(server.seen[-2].query)
    assert len(server.seen[-1].query) == 2
    assert "sekrit-value" not in page.exchange.url
    assert "auth" not in keys or page.url == server.url + "/moved?page=1"


async def test_a_secret_in_a_path_goes_to_no_other_host(
    server: ReplayServer, stranger: ReplayServer, tmp_path: Path
) -> None:
    source = api_source(
        server.url + "/bot{ token }/updates",
        variables={"token": EnvironmentValue("sekrit-value")},
    )
    server.always = faults.redirect(stranger.url + "/botsekrit-value/updates")
    request = page_request(source, {"token": "sekrit-value"})
    with pytest.raises(ApiRefusedError, match="with a secret in it") as error:
        await fetch(source, tmp_path, request=request)
    assert "sekrit-value" not in str(error.value)
    assert stranger.seen == []


async def test_a_cookie_goes_nowhere(
    prices: ApiSource, server: ReplayServer, tmp_path: Path
) -> None:
    server.always = lambda _seen, answer: answer.with_header("Set-Cookie", "session=1; Path=/")
    async with api_client(prices, tmp_path) as client:
        for _ in range(2):
            page = await client.fetch(page_request(prices, {}))
    assert server.seen[1].header("cookie") is None
    assert dict(page.exchange.headers)["set-cookie"] == "***"


async def test_a_trusted_host_gets_credentials(
    server: ReplayServer, one_server: ReplayServer, shared_data: Path, tmp_path: Path
) -> None:
    with replay_server() as friend:
        friend.serve(coingecko(shared_data))
        server.always = faults.redirect(friend.url + "/api/v3/coins/list")
        source = api_source(
            server.url,
            auth={"kind": "bearer", "token": "sekrit-value"},
            trusted_hosts=[f"127.0.0.1:{friend.port}"],
        )
        page = await fetch(source, tmp_path)
    assert len(json.loads(page.body)) == 7281 or len(json.loads(page.body)) == 7248
    assert friend.seen[0].header("authorization") == "Bearer sekrit-value"


async def test_redirects_end(server: ReplayServer, tmp_path: Path) -> None:
    server.always = faults.redirect("/again")
    with pytest.raises(ApiRefusedError, match="redirected more than 5 times"):
        await fetch(api_source(server.url), tmp_path)
    assert len(server.seen) == 6


@pytest.mark.parametrize(
    ("to", "said"),
    [("file:///etc/passwd", "no http or https"), ("", "no place"), ("http://[", "no http")],
)
async def test_a_redirect_to_nowhere_is_refused(
    server: ReplayServer, tmp_path: Path, to: str, said: str
) -> None:
    server.always = faults.redirect(to)
    with pytest.raises(ApiRefusedError, match=said):
        await fetch(api_source(server.url), tmp_path)


async def test_what_is_posted_goes_to_no_other_host(
    server: ReplayServer, stranger: ReplayServer, tmp_path: Path
) -> None:
    server.always = faults.redirect(stranger.url, 307)
    source = api_source(server.url, method="POST", body={"form": {"key": "sekrit-value"}})
    with pytest.raises(ApiRefusedError, match="to another host"):
        await fetch(source, tmp_path)
    assert stranger.seen == []

    server.always = faults.redirect("/done", 303)
    server.handlers["/done"] = lambda _seen: faults.json_answer(b"[]")
    server.always = None
    server.err(faults.redirect("/done", 303))
    assert (await fetch(source, tmp_path)).body == b"[]"
    assert (server.seen[-1].method, server.seen[-1].body) == ("GET", b"")
