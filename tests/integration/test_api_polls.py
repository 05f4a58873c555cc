"""Polls of API sources against a replay server: each page once, whatever dies in between."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from headrace.producers.api.page_inbox import PageInbox
from headrace.producers.api.walking import Walking
from headrace.producers.api.windows import Span, span_of_dates
from headrace.producers.delivery import DeliveryState
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.receiving import Receiving
from headrace.producers.spool.spool import Spool
from support.polled import NOW, PolledProject
from support.replay_answer import Answer, Seen, json_answer, status
from support.replay_client import api_source
from support.replay_recordings import coingecko, github
from support.replay_server import ReplayServer

ISSUES = "/repos/octokit-fixture-org/paginate-issues/issues"
GITHUB: dict[str, Any] = {"query": {"per_page": 3}, "pagination": {"kind": "link"}}


def paged(server: ReplayServer, path: str, **keys: Any) -> Any:
    return api_source(server.url + path, retries={"attempts": 1}, **keys)


def numbered(pages: Sequence[Sequence[object]]) -> Any:
    """A server with numbered pages, empty after the last."""

    def answer(seen: Seen) -> Answer:
        number = int(seen.argument("page") or 1)
        return json_answer(json.dumps(pages[number - 1] if number <= len(pages) else []).encode())

    return answer


def since(records: Sequence[dict[str, Any]], size: int) -> Any:
    """A server that gives what is at or after `since`, by pages."""

    def answer(seen: Seen) -> Answer:
        found = [r for r in records if r["at"] >= (seen.argument("since") or "")]
        first = size * (int(seen.argument("page") or 1) - 1)
        return json_answer(json.dumps(found[first : first + size]).encode())

    return answer


# --- the recorded pages of GitHub


async def test_githubs_pages_are_followed_where_the_server_says(
    server: ReplayServer, shared_data: Path, tmp_path: Path
) -> None:
    server.serve(github(shared_data, "paginate-issues"))
    server.begin_pages_at(f"{ISSUES}?per_page=3")
    project = PolledProject(tmp_path, paged(server, ISSUES, **GITHUB))
    polled = await project.poll_well()
    assert (polled.report.pages, polled.report.new) == (5, 5)
    assert [len(page) for page in project.spooled()] == [3, 3, 3, 3, 1]
    ids = [issue["id"] for page in project.spooled() for issue in page]
    assert len(set(ids)) == len(ids) == 13
    assert [row.name for row in project.rows][:2] == [
        f"GET {ISSUES}?per_page=3",
        f"GET {ISSUES}?per_page=3 page 2",
    ]
    exchange = Spool(project.paths.spool).exchange("prices", project.rows[1].delivery_id)
    assert exchange is not None
    assert (exchange.status, exchange.url) == (
        200,
        f"{server.url}/repositories/1000/issues?per_page=3&page=2",
    )
    assert any(name.lower() == "link" for name, _ in exchange.headers)


async def test_unchanged_polls_are_recorded_in_one_row_each_and_asked_for_conditionally(
    server: ReplayServer, shared_data: Path, tmp_path: Path
) -> None:
    server.serve(github(shared_data, "paginate-issues"))
    project = PolledProject(tmp_path, paged(server, ISSUES, **GITHUB))
    await project.poll_well()
    for _ in range(3):
        polled = await project.poll_well()
        assert (polled.report.new, polled.report.unchanged) == (0, 5)
        assert all(receipt.duplicate_of for receipt in polled.receipts)
    asked = server.seen[-5:]
    assert all(seen.header("if-none-match") for seen in asked)
    states = Counter(row.state for row in project.rows)
    assert states == {DeliveryState.RECEIVED: 5, DeliveryState.DUPLICATE: 5}
    duplicates = [row for row in project.rows if row.state is DeliveryState.DUPLICATE]
    assert {row.reason for row in duplicates} == {"its server says that it has not changed"}


async def test_unchanged_content_without_a_304_is_recorded_once_too(
    server: ReplayServer, tmp_path: Path
) -> None:
    server.handlers["/now"] = lambda _: json_answer(b'[{"price": 1}]')
    project = PolledProject(tmp_path, paged(server, "/now"))
    for _ in range(4):
        await project.poll_well()
    assert [row.state.value for row in project.rows] == ["received", "duplicate"]
    server.handlers["/now"] = lambda _: json_answer(b'[{"price": 2}]')
    await project.poll_well()
    server.handlers["/now"] = lambda _: json_answer(b'[{"price": 1}]')
    assert (await project.poll_well()).report.new == 1
    assert [page[0]["price"] for page in project.spooled()] == [1, 2, 1]


async def test_unchanged_content_is_published_where_the_config_asks_for_that(
    server: ReplayServer, tmp_path: Path
) -> None:
    server.handlers["/now"] = lambda _: json_answer(b'[{"price": 1}]', 200, ("ETag", '"a"'))
    project = PolledProject(tmp_path, paged(server, "/now", keep_unchanged=True))
    for _ in range(3):
        await project.poll_well()
        project.clock.now += 60
    assert len(project.spooled()) == 3
    assert not any(seen.header("if-none-match") for seen in server.seen)


# --- crashes


class DiedError(BaseException):
    """Stands for a kill: nothing catches it."""


STEPS: dict[str, type] = {
    "_conditional": PageInbox,
    "draft_bytes": Spool,
    "place": Spool,
    "sync_source": Spool,
    "record": Ledger,
    "receive": Receiving,
    "_received": Walking,
}


def die(context: pytest.MonkeyPatch, step: str, at: int, *, before: bool) -> list[int]:
    """Have a step die at its n-th time; the list has an entry then."""
    owner = STEPS[step]
    right = getattr(owner, step)
    times: list[int] = []
    died: list[int] = []

    def wrong(*args: Any, **kwargs: Any) -> Any:
        times.append(1)
        result = None if before and len(times) == at else right(*args, **kwargs)
        if len(times) == at:
            died.append(at)
            raise DiedError
        return result

    context.setattr(owner, step, wrong)
    return died


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
async def test_a_poll_that_dies_at_any_step_neither_skips_nor_doubles_a_page(
    server: ReplayServer,
    shared_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    before: bool,
) -> None:
    server.serve(github(shared_data, "paginate-issues"))
    server.begin_pages_at(f"{ISSUES}?per_page=3")
    project = PolledProject(tmp_path, paged(server, ISSUES, **GITHUB))
    # At the first page, in the middle, at the last one: each time what was begun goes on.
    for at in (1, 2, 2):
        with monkeypatch.context() as context:
            died = die(context, step, at, before=before)
            with pytest.raises(DiedError):
                await project.poll()
            assert died
    await project.poll_well()
    ids = [issue["id"] for page in project.spooled() for issue in page]
    assert Counter(ids) == dict.fromkeys(range(1000, 1013), 1)
    assert len(project.spooled()) == 5


# --- cursors


def records_from(first: int, last: int) -> list[dict[str, Any]]:
    return [{"id": n, "at": f"2021-03-{n:02}T00:00:00Z"} for n in range(first, last + 1)]


CURSOR: dict[str, Any] = {
    "pagination": {"kind": "page"},
    "cursor": {"field": "at", "parameter": "since", "initial": "2021-03-02T00:00:00Z"},
}


async def test_a_cursor_asks_from_the_highest_value_of_the_pages_before(
    server: ReplayServer, tmp_path: Path
) -> None:
    # The newest first: after page 1 the highest value is known, and page 2 not yet taken.
    server.handlers["/items"] = since(records_from(1, 7)[::-1], 3)
    project = PolledProject(tmp_path, paged(server, "/items", **CURSOR))
    await project.poll_well()
    assert [r["id"] for page in project.spooled() for r in page] == [7, 6, 5, 4, 3, 2]
    assert project.cursors["cursor GET /items"] == "2021-03-07T00:00:00Z"
    polled = await project.poll_well()
    assert [seen.argument("since") for seen in server.seen][-2:] == ["2021-03-07T00:00:00Z"] * 2
    assert polled.report.new == 1  # the last one again, as this server's `since` includes it
    assert (await project.poll_well()).report.new == 0
    server.handlers["/items"] = since(records_from(1, 9)[::-1], 3)
    await project.poll_well()
    assert project.cursors["cursor GET /items"] == "2021-03-09T00:00:00Z"


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
async def test_a_cursor_moves_with_the_last_page_alone(
    server: ReplayServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    server.handlers["/items"] = since(records_from(1, 8)[::-1], 3)
    pagination = {"kind": "page", "until": "short", "size": 3}
    source = paged(server, "/items", **{**CURSOR, "pagination": pagination})
    project = PolledProject(tmp_path, source)
    for at in (1, 1, 1):
        with monkeypatch.context() as context:
            die(context, "record", at, before=before)
            with pytest.raises(DiedError):
                await project.poll()
        through = len(project.spooled()) == 3 and not before
        assert ("cursor GET /items" in project.cursors) == through
    await project.poll_well()
    seen_ids = Counter(r["id"] for page in project.spooled() for r in page)
    # The record at the cursor is asked for again by the poll after the one that was through.
    assert set(seen_ids) == set(range(2, 9))
    assert all(times == 1 for number, times in seen_ids.items() if number != 8)


async def test_a_lost_ledger_learns_from_the_spool_how_far_the_source_is(
    server: ReplayServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.handlers["/items"] = numbered([[{"id": n}] for n in range(5)])
    project = PolledProject(tmp_path, paged(server, "/items", pagination={"kind": "page"}))
    with monkeypatch.context() as context:
        die(context, "record", 3, before=False)
        with pytest.raises(DiedError):
            await project.poll()
    for file in project.paths.ledger.parent.glob("ledger.db*"):
        file.unlink()
    await project.poll_well()
    assert [page[0]["id"] for page in project.spooled()] == [0, 1, 2, 3, 4]
    assert [seen.argument("page") for seen in server.seen] == ["1", "2", "3", "4", "5", "6"]


# --- windows


def by_day(seen: Seen) -> Answer:
    """A server that has a record for each day asked for."""
    start = datetime.fromtimestamp(int(seen.argument("from") or 0), UTC)
    end = datetime.fromtimestamp(int(seen.argument("to") or 0), UTC)
    days = [start.date().toordinal() + n for n in range((end - start).days)]
    return json_answer(json.dumps([{"day": day} for day in days]).encode())


WINDOW: dict[str, Any] = {
    "query": {"from": "{ from }", "to": "{ to }"},
    "window": {"size": "1d", "format": "epoch_s"},
}


async def test_a_backfill_asks_for_each_window_once_and_goes_on_where_it_died(
    server: ReplayServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.handlers["/range"] = by_day
    project = PolledProject(tmp_path, paged(server, "/range", **WINDOW))
    quarter = span_of_dates(date(2021, 3, 1), date(2021, 3, 31))
    with monkeypatch.context() as context:
        die(context, "record", 12, before=False)
        with pytest.raises(DiedError):
            await project.poll(quarter)
    polled = await project.poll_well(quarter)
    assert (polled.report.requests_total, polled.report.requests_done) == (19, 19)
    days = [r["day"] for page in project.spooled() for r in page]
    first = date(2021, 3, 1).toordinal()
    assert days == list(range(first, first + 31))
    assert len(server.seen) == 31
    assert (await project.poll_well(quarter)).report.pages == 0
    assert project.rows[0].name == "GET /range?from=1614556800&to=1614643200"
    assert list(json.loads(project.cursors["windows GET /range?from={from}&to={to}"])) == [
        ["2021-03-01T00:00:00+00:00", "2021-04-01T00:00:00+00:00"]
    ]


async def test_a_poll_takes_the_windows_that_have_ended(
    server: ReplayServer, tmp_path: Path
) -> None:
    server.handlers["/range"] = by_day
    window = {"size": "1d", "format": "epoch_s", "start": "2021-03-29"}
    project = PolledProject(tmp_path, paged(server, "/range", **{**WINDOW, "window": window}))
    assert (await project.poll_well()).report.new == 3  # it is 1 April, 12:30
    assert (await project.poll_well()).report.pages == 0
    project.clock.now += 86_400
    assert (await project.poll_well()).report.new == 1
    span = Span(NOW.replace(day=1, hour=0, minute=0), datetime(2021, 5, 1, tzinfo=UTC))
    assert (await project.poll_well(span)).report.pages == 0  # nothing of the future


async def test_each_value_of_a_variable_has_a_cursor_of_its_own_and_one_that_fails_stops_no_other(
    server: ReplayServer, tmp_path: Path
) -> None:
    server.handlers["/coins/btc"] = since(records_from(1, 3), 9)
    server.handlers["/coins/eth"] = since(records_from(1, 5), 9)
    source = paged(
        server,
        "/coins/{ coin }",
        variables={"coin": ["btc", "nix", "eth"]},
        cursor={"field": "at", "parameter": "since"},
    )
    project = PolledProject(tmp_path, source)
    polled = await project.poll()
    assert [failure.reason for failure in polled.report.failures] == ["refused"]
    assert "/coins/nix" in polled.report.failures[0].text
    assert (polled.report.requests_total, polled.report.requests_done) == (3, 2)
    assert project.cursors == {
        "cursor GET /coins/btc": "2021-03-03T00:00:00Z",
        "cursor GET /coins/eth": "2021-03-05T00:00:00Z",
        "cursor rule GET /coins/btc": "at as time",
        "cursor rule GET /coins/eth": "at as time",
    }


# --- what goes wrong


async def test_a_server_that_is_down_ends_the_poll_and_the_next_one_goes_on(
    server: ReplayServer, tmp_path: Path
) -> None:
    server.handlers["/items"] = numbered([[{"id": n}] for n in range(4)])
    project = PolledProject(tmp_path, paged(server, "/items", pagination={"kind": "page"}))
    server.err(lambda _, right: right, lambda _, right: right, status(503))
    polled = await project.poll()
    (failure,) = polled.report.failures
    assert failure.reason == "unavailable"
    assert "503" in str(failure)
    assert "polled again by the next run" in str(failure)
    assert polled.report.new == 2
    await project.poll_well()
    assert [seen.argument("page") for seen in server.seen] == ["1", "2", "3", "3", "4", "5"]
    assert [page[0]["id"] for page in project.spooled()] == [0, 1, 2, 3]


async def test_a_server_that_has_forgotten_its_token_is_asked_from_the_beginning(
    server: ReplayServer, tmp_path: Path
) -> None:
    def answer(seen: Seen) -> Answer:
        token = seen.argument("token")
        if token == "old":
            return json_answer(b'{"error": "expired"}', 400)
        document = {"data": [{"id": 2 if token else 1}], "next": None if token else next_token}
        return json_answer(json.dumps(document).encode())

    server.handlers["/items"] = answer
    keys: dict[str, Any] = {
        "records": "data",
        "pagination": {"kind": "cursor", "path": "next", "parameter": "token"},
    }
    project = PolledProject(tmp_path, paged(server, "/items", **keys))
    next_token = "old"
    assert (await project.poll()).report.failures[0].reason == "refused"
    next_token = "new"
    await project.poll_well()
    assert {r["id"] for page in project.spooled() for r in page["data"]} == {1, 2}


async def test_the_same_page_again_is_a_failure_and_not_taken_twice(
    server: ReplayServer, tmp_path: Path
) -> None:
    server.handlers["/items"] = lambda _: json_answer(b'[{"id": 1}]')
    project = PolledProject(tmp_path, paged(server, "/items", pagination={"kind": "page"}))
    for _ in range(2):
        polled = await project.poll()
        assert polled.report.failures[0].reason == "pagination"
        assert "same content" in polled.report.failures[0].text
    assert len(project.spooled()) == 1


async def test_endless_pages_end_at_their_limit_and_go_on_where_it_is_raised(
    server: ReplayServer, tmp_path: Path
) -> None:
    server.handlers["/items"] = lambda seen: json_answer(
        b'[{"id": %d}]' % int(seen.argument("page") or 0)
    )
    keys: dict[str, Any] = {"pagination": {"kind": "page", "max_pages": 3}}
    project = PolledProject(tmp_path, paged(server, "/items", **keys))
    polled = await project.poll()
    assert "more than 3 pages" in polled.report.failures[0].text
    assert polled.report.new == 3
    project.source = paged(server, "/items", pagination={"kind": "page", "max_pages": 4})
    assert (await project.poll()).report.new == 1


@pytest.mark.parametrize("etag", [(), (("ETag", '"a"'),)], ids=["plain", "etag"])
@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ("http://elsewhere.example/items", "elsewhere.example"),
        ("/items?page=2", "names itself"),
        ("ftp://[", "expected an http or https URL"),
        ({"href": "/items"}, "expected a URL"),
    ],
    ids=["another host", "itself", "no URL", "no text"],
)
async def test_a_page_whose_next_link_is_bad_is_taken_once_and_nothing_moves_past_it(
    server: ReplayServer, tmp_path: Path, bad: object, told: str, etag: tuple[tuple[str, str], ...]
) -> None:
    second: dict[str, object] = {"data": [{"id": 2, "at": "2021-03-02T00:00:00Z"}], "next": bad}

    def answer(seen: Seen) -> Answer:
        if seen.argument("page") == "3":
            return json_answer(b'{"data": [{"id": 3, "at": "2021-03-03T00:00:00Z"}]}')
        if seen.argument("page") == "2":
            if etag and seen.header("if-none-match") == etag[0][1] and second["next"] == bad:
                return json_answer(b"", 304)
            return json_answer(json.dumps(second).encode(), 200, *etag)
        return json_answer(
            b'{"data": [{"id": 1, "at": "2021-03-01T00:00:00Z"}], "next": "/items?page=2"}'
        )

    server.handlers["/items"] = answer
    keys: dict[str, Any] = {
        "records": "data",
        "pagination": {"kind": "next_url", "path": "next"},
    }
    project = PolledProject(tmp_path, paged(server, "/items", **keys))
    for new, unchanged in ((2, 0), (0, 2), (0, 2)):
        polled = await project.poll()
        (failure,) = polled.report.failures
        assert failure.reason == "pagination"
        assert told in failure.text
        assert (polled.report.new, polled.report.unchanged) == (new, unchanged)
    states = Counter(row.state.value for row in project.rows)
    assert states == {"received": 2, "duplicate": 2}
    assert [record["id"] for page in project.spooled() for record in page["data"]] == [1, 2]
    second["next"] = "/items?page=3"
    await project.poll_well()
    assert {record["id"] for page in project.spooled() for record in page["data"]} == {1, 2, 3}


# --- a cursor, and pages that do not say how far they go: taken when they do, and then once


def ids_of(project: PolledProject) -> Counter[int]:
    """How often each record is in what is published."""
    pages = (page if isinstance(page, list) else page["data"] for page in project.spooled())
    return Counter(record["id"] for page in pages for record in page)


def growing(server: ReplayServer, records: list[dict[str, Any]], **more: object) -> None:
    """A server whose one page has what is after `since`."""

    def answer(seen: Seen) -> Answer:
        found = [r for r in records if r["at"] > (seen.argument("since") or "")]
        return json_answer(json.dumps({"data": found, **more}).encode())

    server.handlers["/items"] = answer


@pytest.mark.parametrize(
    ("wrong", "right", "told"),
    [
        ({"field": "updated"}, {"field": "at"}, "none of the page's 1 records"),
        ({"field": "at", "type": "number"}, {"field": "at"}, "expected a number"),
    ],
    ids=["another field", "another type"],
)
async def test_a_page_that_says_no_cursor_waits_for_the_right_config_however_it_grows(
    server: ReplayServer,
    tmp_path: Path,
    wrong: dict[str, str],
    right: dict[str, str],
    told: str,
) -> None:
    records = records_from(1, 1)
    growing(server, records)
    keys: dict[str, Any] = {"records": "data", "cursor": {**wrong, "parameter": "since"}}
    project = PolledProject(tmp_path, paged(server, "/items", **keys))
    for number in (2, 3):
        (failure,) = (await project.poll()).report.failures
        assert told in failure.text
        assert "not taken: 1" in failure.text
        told = told.replace("1 records", "2 records")
        assert project.rows == []
        records += records_from(number, number)
    keys["cursor"] = {**right, "parameter": "since"}
    project.source = paged(server, "/items", **keys)
    await project.poll_well()
    assert ids_of(project) == {1: 1, 2: 1, 3: 1}


async def test_a_page_whose_next_link_is_bad_waits_for_a_good_one_however_it_grows(
    server: ReplayServer, tmp_path: Path
) -> None:
    first, second = records_from(1, 1), records_from(5, 5)
    following = "http://elsewhere.example/items"

    def answer(seen: Seen) -> Answer:
        match seen.argument("page"):
            case "3":
                return json_answer(json.dumps({"data": records_from(9, 9)}).encode())
            case "2":
                return json_answer(json.dumps({"data": second, "next": following}).encode())
            case _:
                page = {"data": first, "next": "/items?page=2"}
                return json_answer(json.dumps(page).encode())

    server.handlers["/items"] = answer
    keys: dict[str, Any] = {
        "records": "data",
        "pagination": {"kind": "next_url", "path": "next"},
        "cursor": {"field": "at", "parameter": "since"},
    }
    project = PolledProject(tmp_path, paged(server, "/items", **keys))
    for number in (2, 3):
        (failure,) = (await project.poll()).report.failures
        assert "elsewhere.example" in failure.text
        assert ids_of(project) == {1: 1}  # what has a good page behind it is done
        assert not any(key.startswith("cursor ") for key in project.cursors)
        second += records_from(number + 4, number + 4)
    following = "/items?page=3"
    await project.poll_well()
    assert ids_of(project) == {1: 1, 5: 1, 6: 1, 7: 1, 9: 1}
    assert "2021-03-09T00:00:00Z" in project.cursors.values()


@pytest.mark.parametrize("status_", [404, 503])
async def test_a_last_page_without_the_empty_one_behind_it_is_taken_when_that_comes(
    server: ReplayServer, tmp_path: Path, status_: int
) -> None:
    records = records_from(4, 4)
    numbers = since(records, 3)
    server.handlers["/items"] = lambda seen: (
        numbers(seen) if seen.argument("page") == "1" else json_answer(b"{}", status_)
    )
    project = PolledProject(tmp_path, paged(server, "/items", **CURSOR))
    for number in (5, 6):
        (failure,) = (await project.poll()).report.failures
        assert str(status_) in failure.text
        assert ("end_status = [404]" in failure.text) == (status_ == 404)
        assert project.rows == []
        records += records_from(number, number)
    records += records_from(7, 8)
    if status_ == 404:
        pagination = {"kind": "page", "end_status": [404]}
        records = records[:3]
        project.source = paged(server, "/items", **{**CURSOR, "pagination": pagination})
        numbers = since(records, 3)
    else:
        numbers = since(records, 3)
        server.handlers["/items"] = numbers
    await project.poll_well()
    assert ids_of(project) == {record["id"]: 1 for record in records}
    assert project.cursors["cursor GET /items"] == records[-1]["at"]


async def test_a_ledger_lost_between_polls_loses_none_of_a_last_page_that_grew(
    server: ReplayServer, tmp_path: Path
) -> None:
    records = [{"id": 4}]
    keys: dict[str, Any] = {
        "pagination": {"kind": "page"},
        "cursor": {"field": "id", "parameter": "since", "type": "number"},
    }

    def answer(seen: Seen) -> Answer:
        found = [r for r in records if r["id"] > int(seen.argument("since") or 0)]
        first = 3 * (int(seen.argument("page") or 1) - 1)
        return json_answer(json.dumps(found[first : first + 3]).encode())

    server.handlers["/items"] = answer
    project = PolledProject(tmp_path, paged(server, "/items", **keys))
    await project.poll_well()
    for file in project.paths.ledger.parent.glob("ledger.db*"):
        file.unlink()
    records += [{"id": number} for number in (5, 6, 7, 8)]
    await project.poll_well()
    assert ids_of(project) == {4: 1, 5: 1, 6: 1, 7: 1, 8: 1}


async def test_a_server_that_forgets_each_time_has_nothing_taken_again_before_it_goes_on(
    server: ReplayServer, tmp_path: Path
) -> None:
    records, known = [1], ""

    def answer(seen: Seen) -> Answer:
        token = seen.argument("token")
        if token:
            return (
                json_answer(b'{"data": [{"id": 9}]}') if token == known else json_answer(b"{}", 404)
            )
        page = {"data": [{"id": n} for n in records], "next": f"t{len(records)}"}
        return json_answer(json.dumps(page).encode())

    server.handlers["/items"] = answer
    keys: dict[str, Any] = {
        "records": "data",
        "pagination": {"kind": "cursor", "path": "next", "parameter": "token"},
        "cursor": {"field": "id", "parameter": "since", "type": "number"},
    }
    project = PolledProject(tmp_path, paged(server, "/items", **keys))
    # Down while the second page is asked for: the first is done, and says where to go on.
    server.err(lambda _, right: right, status(503))
    assert (await project.poll()).report.new == 1
    for number in (2, 3):
        records.append(number)
        assert (await project.poll()).report.failures[0].reason == "refused"
        assert ids_of(project) == {1: 1}
    known = "t3"
    await project.poll_well()
    assert ids_of(project) == {1: 2, 2: 1, 3: 1, 9: 1}  # page 1 has grown since it was done


@pytest.mark.parametrize("initial", [None, 2], ids=["everything", "from initial"])
async def test_a_changed_cursor_begins_at_its_initial_value_and_says_so(
    server: ReplayServer, tmp_path: Path, initial: int | None
) -> None:
    records = [{"id": 1000 + n, "seq": n} for n in (1, 2, 3)]
    field = "id"

    def answer(seen: Seen) -> Answer:
        found = [r for r in records if r[field] > int(seen.argument("since") or 0)]
        return json_answer(json.dumps(found).encode())

    def source() -> Any:
        begin = {} if initial is None else {"initial": initial}
        cursor = {"field": field, "parameter": "since", "type": "number", **begin}
        return paged(server, "/items", cursor=cursor)

    server.handlers["/items"] = answer
    project = PolledProject(tmp_path, source())
    assert not (await project.poll_well()).report.notes
    assert not (await project.poll_well()).report.notes
    field = "seq"
    project.source = source()
    records.append({"id": 1004, "seq": 4})
    (note,) = (await project.poll_well()).report.notes
    assert "`cursor` is seq as number now, and was id as number when it came to 1003" in note
    assert server.seen[-1].argument("since") == (None if initial is None else "2")
    assert ids_of(project)[1004] == 1
    records.append({"id": 1005, "seq": 5})
    for file in project.paths.ledger.parent.glob("ledger.db*"):  # the spool knows both
        file.unlink()
    assert not (await project.poll_well()).report.notes
    assert server.seen[-1].argument("since") == "4"
    assert ids_of(project)[1005] == 1


async def test_a_cursor_of_the_version_before_goes_on_where_it_is_one_of_the_rule(
    server: ReplayServer, tmp_path: Path
) -> None:
    records = records_from(1, 2)
    growing(server, records)
    cursor = {"field": "at", "parameter": "since"}
    project = PolledProject(tmp_path, paged(server, "/items", records="data", cursor=cursor))
    await project.poll_well()
    with Ledger(project.paths.ledger) as ledger:
        ledger.drop_cursors("prices", ["cursor rule GET /items"])
    records += records_from(3, 3)
    assert not (await project.poll_well()).report.notes
    assert server.seen[-1].argument("since") == records[1]["at"]
    assert ids_of(project) == {1: 1, 2: 1, 3: 1}
    with Ledger(project.paths.ledger) as ledger:
        ledger.drop_cursors("prices", ["cursor rule GET /items"])
    project.source = paged(
        server, "/items", records="data", cursor={**cursor, "field": "id", "type": "number"}
    )
    (note,) = (await project.poll_well()).report.notes
    assert "and was another when it came to 2021-03-03T00:00:00Z" in note
    assert project.cursors["cursor GET /items"] == "3"


async def test_the_same_page_again_is_not_taken_where_a_cursor_asks_for_it_again(
    server: ReplayServer, tmp_path: Path
) -> None:
    records = records_from(1, 1)
    growing(server, records, next="t")
    keys: dict[str, Any] = {
        "records": "data",
        "pagination": {"kind": "cursor", "path": "next", "parameter": "unheeded"},
        "cursor": {"field": "at", "parameter": "since"},
    }
    project = PolledProject(tmp_path, paged(server, "/items", **keys))
    for number in (2, 3):
        (failure,) = (await project.poll()).report.failures
        assert "same content" in failure.text
        assert project.rows == []
        records += records_from(number, number)


async def test_a_first_page_that_leads_to_another_host_is_refused_and_what_came_stays(
    server: ReplayServer, tmp_path: Path
) -> None:
    server.handlers["/items"] = lambda _: json_answer(
        b'{"data": [{"id": 1}], "next": "http://elsewhere.example/items"}'
    )
    keys: dict[str, Any] = {"records": "data", "pagination": {"kind": "next_url", "path": "next"}}
    project = PolledProject(tmp_path, paged(server, "/items", **keys))
    polled = await project.poll()
    assert "elsewhere.example" in polled.report.failures[0].text
    assert len(server.seen) == 1
    assert [page["data"] for page in project.spooled()] == [[{"id": 1}]]


async def test_a_key_that_a_server_repeats_in_its_next_url_is_written_down_nowhere(
    server: ReplayServer, tmp_path: Path
) -> None:
    key = "k3y-that-is-secret"

    def answer(seen: Seen) -> Answer:
        assert seen.argument("api_key") == key
        number = int(seen.argument("page") or 1)
        following = f"{server.url}/items?page={number + 1}&api_key={key}" if number < 3 else None
        return json_answer(json.dumps({"data": [{"id": number}], "next": following}).encode())

    server.handlers["/items"] = answer
    keys: dict[str, Any] = {
        "records": "data",
        "pagination": {"kind": "next_url", "path": "next"},
        "auth": {"kind": "api_key", "key": key, "name": "api_key", "place": "query"},
    }
    project = PolledProject(tmp_path, paged(server, "/items", **keys))
    await project.poll_well()
    assert len(project.spooled()) == 3
    for path in project.paths.state.rglob("*"):
        if path.is_file() and path.name != "payload":  # the server's own bytes stay
            assert key.encode() not in path.read_bytes(), path


async def test_a_key_in_the_path_of_the_next_url_is_written_down_nowhere_either(
    server: ReplayServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "k3y-that-is-secret"

    def answer(seen: Seen) -> Answer:
        number = int(seen.argument("page") or 1)
        following = f"{server.url}/{key}/items?page={number + 1}" if number < 3 else None
        return json_answer(json.dumps({"data": [{"id": number}], "next": following}).encode())

    server.handlers[f"/{key}/items"] = answer
    keys: dict[str, Any] = {
        "records": "data",
        "pagination": {"kind": "next_url", "path": "next"},
        "auth": {"kind": "bearer", "token": key},
    }
    project = PolledProject(tmp_path, paged(server, f"/{key}/items", **keys))
    with monkeypatch.context() as context:
        die(context, "record", 2, before=False)
        with pytest.raises(DiedError):
            await project.poll()
    await project.poll_well()  # from the first page on: the two that were there are known
    assert [r["id"] for page in project.spooled() for r in page["data"]] == [1, 2, 3]
    for path in project.paths.state.rglob("*"):
        if path.is_file() and path.name != "payload":
            assert key.encode() not in path.read_bytes(), path


async def test_a_page_without_records_is_taken_once_and_said_each_time(
    server: ReplayServer, tmp_path: Path
) -> None:
    server.handlers["/items"] = lambda _: json_answer(b'{"error": "no such thing"}')
    project = PolledProject(tmp_path, paged(server, "/items", records="data"))
    for _ in range(2):
        polled = await project.poll()
        assert polled.report.failures[0].reason == "content"
        assert "an object with error" in polled.report.failures[0].text
    assert [row.state.value for row in project.rows] == ["received", "duplicate"]


async def test_coingeckos_errors_are_failures_of_their_poll(
    server: ReplayServer, shared_data: Path, tmp_path: Path
) -> None:
    server.serve(coingecko(shared_data))
    project = PolledProject(tmp_path, paged(server, "/api/v3/coins/markets"))
    polled = await project.poll()
    assert polled.report.failures[0].reason == "refused"
    assert "vs_currency" in polled.report.failures[0].text
    assert project.rows == []


async def test_one_request_that_fails_for_ever_starves_no_other_but_a_dead_server_is_left_alone(
    server: ReplayServer, tmp_path: Path
) -> None:
    coins = ["a", "broken", *"cdefgh"]
    for coin in coins:
        server.handlers[f"/{coin}"] = lambda _: json_answer(b'[{"price": 1}]')
    server.handlers["/broken"] = lambda seen: status(500)(seen, json_answer(b""))
    source = paged(server, "/{ coin }", variables={"coin": coins})
    project = PolledProject(tmp_path, source)
    polled = await project.poll()
    assert (polled.report.new, len(polled.report.failures)) == (7, 1)
    server.always = status(503)
    before = len(server.seen)
    assert len((await project.poll()).report.failures) <= 4
    assert len(server.seen) - before <= 4


async def test_a_spent_budget_ends_the_poll_and_says_when_it_goes_on(
    server: ReplayServer, tmp_path: Path
) -> None:
    server.handlers["/items"] = numbered([[{"id": n}] for n in range(4)])
    keys: dict[str, Any] = {"pagination": {"kind": "page"}, "daily_budget": 2}
    project = PolledProject(tmp_path, paged(server, "/items", **keys))
    (failure,) = (await project.poll()).report.failures
    assert failure.reason == "budget"
    assert "2021-04-02 00:00:00 UTC" in str(failure)
    project.clock.now += 86_400
    assert (await project.poll()).report.new == 2
    assert [page[0]["id"] for page in project.spooled()] == [0, 1, 2, 3]


async def test_a_graphql_query_is_asked_page_by_page_in_its_body(
    server: ReplayServer, tmp_path: Path
) -> None:
    def answer(seen: Seen) -> Answer:
        after = json.loads(seen.body)["variables"].get("after")
        number = 1 if after is None else int(after)
        info = {"endCursor": str(number + 1), "hasNextPage": number < 3}
        document = {"data": {"items": {"nodes": [{"id": number}], "pageInfo": info}}}
        return json_answer(json.dumps(document).encode())

    server.handlers["/graphql"] = answer
    source = paged(
        server,
        "/graphql",
        method="POST",
        safe_to_repeat=True,
        body={"json": {"query": "query ($after: String) { items }", "variables": {"first": 1}}},
        records="data.items.nodes",
        pagination={
            "kind": "cursor",
            "path": "data.items.pageInfo.endCursor",
            "more": "data.items.pageInfo.hasNextPage",
            "parameter": "variables.after",
            "place": "body",
        },
    )
    project = PolledProject(tmp_path, source)
    await project.poll_well()
    ids = [node["id"] for page in project.spooled() for node in page["data"]["items"]["nodes"]]
    assert ids == [1, 2, 3]
    with pytest.raises(ValidationError, match=r"body = \{ json"):
        paged(server, "/graphql", pagination={"kind": "page", "place": "body"})


async def test_numbers_in_a_body_are_numbers(server: ReplayServer, tmp_path: Path) -> None:
    def answer(seen: Seen) -> Answer:
        offset = json.loads(seen.body)["offset"]
        assert isinstance(offset, int)
        return json_answer(
            json.dumps([{"id": n} for n in range(offset, min(offset + 2, 5))]).encode()
        )

    server.handlers["/search"] = answer
    pagination = {"kind": "offset", "place": "body", "end_status": [404]}
    source = paged(server, "/search", method="POST", body={"json": {}}, pagination=pagination)
    project = PolledProject(tmp_path, source)
    await project.poll_well()
    assert [r["id"] for page in project.spooled() for r in page] == [0, 1, 2, 3, 4]


async def test_a_status_may_say_that_there_is_no_further_page(
    server: ReplayServer, tmp_path: Path
) -> None:
    pages = [[{"id": 1}], [{"id": 2}]]

    def answer(seen: Seen) -> Answer:
        found = numbered(pages)(seen)
        return found if found.body != b"[]" else json_answer(b"{}", 404)

    server.handlers["/items"] = answer
    keys: dict[str, Any] = {"pagination": {"kind": "page", "end_status": [404]}}
    project = PolledProject(tmp_path, paged(server, "/items", **keys))
    await project.poll_well()
    assert len(project.spooled()) == 2
    pages.append([{"id": 3}])
    await project.poll_well()
    assert [page[0]["id"] for page in project.spooled()] == [1, 2, 3]


async def test_a_header_that_cannot_be_sent_is_a_failure_of_its_request(
    server: ReplayServer, tmp_path: Path
) -> None:
    server.handlers["/items"] = lambda _: json_answer(b'[{"id": 1}]')
    source = paged(server, "/items", headers={"X-A": "{ a }"}, variables={"a": ["x\r\ny", "b"]})
    (failure,) = (await PolledProject(tmp_path, source).poll()).report.failures
    assert failure.reason == "config"
    assert "X-A" in failure.text


@pytest.mark.parametrize(
    ("stated", "asked"), [({}, "1 2 1 3 4 5"), ({"size": 3}, "1 2 3 4 5")], ids=["guessed", "size"]
)
async def test_that_a_page_is_full_is_asked_once_in_a_poll_where_nobody_says_so(
    server: ReplayServer, tmp_path: Path, stated: dict[str, int], asked: str
) -> None:
    server.handlers["/items"] = since(records_from(2, 12), 3)
    source = paged(server, "/items", **{**CURSOR, "pagination": {"kind": "page", **stated}})
    project = PolledProject(tmp_path, source)
    assert (await project.poll_well()).report.new == 4
    assert [seen.argument("page") for seen in server.seen] == asked.split()
