"""API sources in a producer: killed as a process, asked while it stays, refused, tried."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from headrace.cli.ask_producer import ProducerToldError, ask_producer
from headrace.cli.trial import try_source
from headrace.config import Config
from headrace.config_api import ApiSource
from headrace.config_file import load_config
from headrace.errors import UsageError
from headrace.infra.broker.server import BrokerServer
from headrace.metrics import API_PAGES, API_POLL_FAILURES, API_REQUESTS
from headrace.producers.api.backfill import backfill_span
from headrace.producers.api.plan import Plan
from headrace.producers.api.windows import Span, spans_to_text
from headrace.producers.delivery import Cursor, DeliveryState
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.ledger.listing import list_deliveries
from headrace.producers.service import produce_once
from headrace.producers.spool.spool import Spool
from support.cli_project import CliProject
from support.produce_project import read_topic
from support.produce_staying import staying
from support.replay_answer import Answer, Seen, json_answer, status
from support.replay_recordings import github
from support.replay_server import ReplayServer

PAGES = 6


def project(root: Path, server: ReplayServer, *sources: str) -> Config:
    """A project with sources of the server, into the stream `sales`."""
    root.mkdir(parents=True)
    (root / "inbox").mkdir()
    blocks = [source.replace("HOST", server.url) for source in sources]
    (root / "headrace.toml").write_text('[project]\nname = "shop"\n' + "\n".join(blocks))
    return load_config(root)


ITEMS = """
[sources.items]
kind = "api"
url = "HOST/items"
stream = "sales"
pagination = { kind = "page" }
cursor = { field = "id", parameter = "since", type = "number", initial = 0 }
retries = { attempts = 1 }
"""
ISSUES = """
[sources.issues]
kind = "api"
url = "HOST/repos/octokit-fixture-org/paginate-issues/issues"
query = { per_page = 3 }
pagination = { kind = "link" }
stream = "sales"
"""
HISTORY = """
[sources.history]
kind = "api"
url = "HOST/days"
query = { day = "{ from }" }
window = { size = "1d", format = "date" }
stream = "sales"
"""
FILES = """
[sources.files]
kind = "files"
path = "inbox"
stream = "sales"
settle = 0
"""


def items(seen: Seen) -> Answer:
    """Ten a page."""
    number = int(seen.argument("page") or 1)
    ids = range(10 * number - 9, 10 * number + 1) if number <= PAGES else range(0)
    return json_answer(json.dumps([{"id": n} for n in ids]).encode())


async def test_produce_once_killed_again_and_again_has_each_page_once(
    server: ReplayServer, tmp_path: Path, embedded_broker: BrokerServer
) -> None:
    config = project(tmp_path / "shop", server, ITEMS)
    servers = embedded_broker.bootstrap_servers
    cli = CliProject(config.root)
    pids: list[int] = []

    def kill() -> None:
        if pids:
            os.kill(pids.pop(), signal.SIGKILL)

    def answer(seen: Seen) -> Answer:
        match seen.argument("page"):
            case "2" if not deaths:  # amid a request
                deaths.append("asking")
                kill()
            case "4" if len(deaths) == 1:  # amid whatever comes of the answer
                deaths.append("taking")
                threading.Timer(0.004, kill).start()
            case _:
                pass
        return items(seen)

    deaths: list[str] = []
    server.handlers["/items"] = answer
    for times in (1, 2):
        process = cli.start(
            "produce", "--once", "--source", "items", "--bootstrap-servers", servers
        )
        pids.append(process.pid)
        assert await asyncio.to_thread(process.wait, 60) == -signal.SIGKILL
        assert len(deaths) == times
    await produce_once(config, bootstrap_servers=servers)

    # By the bytes as they came, and by the topic: an event id stands for one record.
    spool = Spool(config.paths.spool)
    rows = list_deliveries(config.paths.ledger)
    assert [row.state for row in rows] == [DeliveryState.PUBLISHED] * PAGES
    pages = [json.loads(spool.payload("items", row.delivery_id).read_bytes()) for row in rows]
    expected = dict.fromkeys(range(1, 10 * PAGES + 1), 1)
    assert Counter(record["id"] for page in pages for record in page) == expected
    by_event = {
        record.event_id: json.loads(record.value or b"")["id"]
        for record in await read_topic(servers)
    }
    assert Counter(by_event.values()) == expected


async def test_after_a_lost_ledger_a_page_stays_rejected_whose_records_came_since(
    server: ReplayServer, tmp_path: Path, embedded_broker: BrokerServer
) -> None:
    ids = [1]

    def newer(seen: Seen) -> Answer:
        since = int(seen.argument("since") or 0)
        return json_answer(json.dumps({"items": [{"id": n} for n in ids if n > since]}).encode())

    server.handlers["/items"] = newer
    servers = embedded_broker.bootstrap_servers
    one_page = ITEMS.replace('pagination = { kind = "page" }', 'records = "RECORDS"')
    config = project(tmp_path / "shop", server, one_page.replace("RECORDS", "data"))
    assert len((await produce_once(config, bootstrap_servers=servers)).rejections) == 1
    ids.append(2)
    toml = config.root / "headrace.toml"
    toml.write_text(toml.read_text().replace('"data"', '"items"'))
    for ledger_is_lost in (False, True):
        if ledger_is_lost:
            for file in config.paths.ledger.parent.glob(f"{config.paths.ledger.name}*"):
                file.unlink()
        summary = await produce_once(load_config(config.root), bootstrap_servers=servers)
        assert summary.rejections == ()
    states = [row.state for row in list_deliveries(config.paths.ledger)]
    assert states[:2] == [DeliveryState.REJECTED, DeliveryState.PUBLISHED]
    # Sent twice, as nobody takes it in here, but under one id.
    records = {(record.event_id, record.value) for record in await read_topic(servers)}
    assert sorted(value or b"" for _, value in records) == [b'{"id": 1}', b'{"id": 2}']


async def test_a_producer_that_stays_polls_when_it_is_asked_and_says_what_failed(
    server: ReplayServer, tmp_path: Path, embedded_broker: BrokerServer, shared_data: Path
) -> None:
    server.serve(github(shared_data, "paginate-issues"))
    server.handlers["/days"] = lambda seen: json_answer(
        b'[{"day": "%s"}]' % (seen.argument("day") or "").encode()
    )
    config = project(tmp_path / "shop", server, ISSUES, HISTORY, FILES, ITEMS)
    server.handlers["/items"] = lambda seen: status(500)(seen, items(seen))
    requests = API_REQUESTS.labels("issues")._value.get()
    failures = API_POLL_FAILURES.labels("items", "unavailable")._value.get()

    async with staying(config, embedded_broker.bootstrap_servers) as role:

        def ask(source: str, **dates: Any) -> tuple[dict[str, int], list[str]]:
            notices: list[str] = []
            figures = ask_producer(
                role.url, source, until_landed=False, on_notice=notices.append, **dates
            )
            return figures, notices

        figures, _ = await asyncio.to_thread(ask, "issues")
        assert (figures["published"], figures["records"], figures["unreachable"]) == (5, 13, 0)
        assert API_REQUESTS.labels("issues")._value.get() == requests + 5
        # Many who ask at once: one poll is at work, and one more does for all who wait for it.
        many = await asyncio.gather(*(asyncio.to_thread(ask, "issues") for _ in range(5)))
        assert [figures["published"] for figures, _ in many] == [0] * 5
        assert API_PAGES.labels("issues", "unchanged")._value.get() >= 5
        assert API_REQUESTS.labels("issues")._value.get() <= requests + 5 + 4 * 5

        march = (date(2021, 3, 1), date(2021, 3, 5))
        figures, notices = await asyncio.to_thread(ask, "history", dates=march)
        assert figures["published"] == 5
        assert any("5 windows" in notice for notice in notices)
        assert [s.argument("day") for s in server.seen if s.path == "/days"] == [
            f"2021-03-0{day}" for day in range(1, 6)
        ]
        with pytest.raises(ProducerToldError, match="expected an API"):
            await asyncio.to_thread(ask, "files", dates=march)

        figures, notices = await asyncio.to_thread(ask, "items")
        assert figures["unreachable"] == 1
        assert any("500" in notice and "next run" in notice for notice in notices)
        assert API_POLL_FAILURES.labels("items", "unavailable")._value.get() == failures + 1


async def test_a_source_is_tried_where_its_next_poll_goes_on(
    server: ReplayServer, tmp_path: Path, embedded_broker: BrokerServer
) -> None:
    config = project(tmp_path / "shop", server, ITEMS)
    server.handlers["/items"] = lambda seen: (
        items(seen) if seen.argument("page") != "3" else status(500)(seen, items(seen))
    )
    servers = embedded_broker.bootstrap_servers
    assert len((await produce_once(config, bootstrap_servers=servers)).unreachable) == 1
    server.handlers["/items"] = items
    said = await asyncio.to_thread(lambda: list(try_source(config, "items", most_files=1)))
    text = "\n".join(one.text for one in said)
    assert "the poll before ended ahead of page 3" in text
    assert "page=3" in text
    assert "cursor: id is 30 at its highest" in text


async def test_a_source_that_fails_holds_up_no_other_and_a_changed_path_mends_it(
    server: ReplayServer, tmp_path: Path, embedded_broker: BrokerServer
) -> None:
    server.handlers["/wrapped"] = lambda _: json_answer(b'{"items": [{"id": 1}, {"id": 2}]}')
    server.handlers["/items"] = items
    wrapped = """
[sources.wrapped]
kind = "api"
url = "HOST/wrapped"
records = "data"
stream = "sales"
"""
    config = project(tmp_path / "shop", server, wrapped, ITEMS)
    servers = embedded_broker.bootstrap_servers
    for _ in range(2):
        summary = await produce_once(config, bootstrap_servers=servers)
        assert len(summary.unreachable) == 1
        assert "an object with items" in summary.unreachable[0]
    rows = list_deliveries(config.paths.ledger)
    rejected = [row for row in rows if row.state is DeliveryState.REJECTED]
    assert len(rejected) == 1  # said each time, and there once
    assert "found nothing at data" in (rejected[0].reason or "")
    assert sum(row.records or 0 for row in rows) == 10 * PAGES

    toml = config.root / "headrace.toml"
    toml.write_text(toml.read_text().replace('records = "data"', 'records = "items"'))
    summary = await produce_once(load_config(config.root), bootstrap_servers=servers)
    assert summary.unreachable == ()
    assert summary.records == 2  # read anew from the spool; the same page again is known


def test_dates_are_for_an_api_with_a_window(server: ReplayServer, tmp_path: Path) -> None:
    config = project(tmp_path / "shop", server, HISTORY, FILES, ITEMS)
    march = (date(2021, 3, 1), date(2021, 3, 5))
    for source, found in ((None, "one source"), ("files", "'files'"), ("items", "no `window`")):
        with pytest.raises(UsageError, match=found):
            backfill_span(config, source, march)
    with pytest.raises(UsageError, match="after"):
        backfill_span(config, "history", march[::-1])
    assert backfill_span(config, "history", march) is not None
    assert backfill_span(config, "files", None) is None


def test_a_source_is_tried_without_recording_anything(
    server: ReplayServer, tmp_path: Path, shared_data: Path
) -> None:
    server.serve(github(shared_data, "paginate-issues"))
    server.handlers["/items"] = items
    wrong = ITEMS.replace("sources.items", "sources.wrong") + 'records = "data"\n'
    config = project(tmp_path / "shop", server, ISSUES, ITEMS, wrong, HISTORY)

    said = list(try_source(config, "issues", most_files=1))
    text = "\n".join(one.text for one in said)
    assert not any(one.is_problem for one in said)
    assert "HTTP 200" in text
    assert "3 records, 0 unreadable" in text
    assert "the next page: GET" in text
    assert "/repositories/1000/issues?per_page=3&page=2" in text

    text = "\n".join(one.text for one in try_source(config, "items", most_files=1))
    assert "cursor: id is 10 at its highest" in text
    assert "since=0" in text

    said = list(try_source(config, "wrong", most_files=1))
    assert any(one.is_problem and "an array of 10" in one.text for one in said)

    server.always = status(500)
    said = list(try_source(config, "wrong", most_files=1))
    assert any(one.is_problem and "500" in one.text for one in said)
    assert not config.paths.ledger.exists()
    assert not config.paths.spool.exists()


def test_a_source_whose_windows_were_all_asked_for_is_tried_with_the_last(
    server: ReplayServer, tmp_path: Path
) -> None:
    server.handlers["/days"] = lambda _: json_answer(b'[{"day": 1}]')
    config = project(tmp_path / "shop", server, HISTORY)
    source = config.settings.sources["history"]
    assert isinstance(source, ApiSource)
    (series,) = Plan(source, str).series()
    always = Span(datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC))
    with Ledger(config.paths.ledger) as ledger:
        ledger.set_cursors("history", [Cursor(series.windows_key, spans_to_text([always]))])
    said = [one.text for one in try_source(config, "history", most_files=1)]
    assert said[:2] == ["0 windows of time still to be asked for", "the last one again:"]
    assert "  1 record, 0 unreadable" in said
    assert len(server.seen) == 1
