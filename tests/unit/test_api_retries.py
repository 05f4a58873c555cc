"""Pages that no records were found in, once the config says rightly where they are."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from headrace.config_api import ApiSource
from headrace.errors import DeliveryRejectedError
from headrace.producers.api.page import Page, PageRequest
from headrace.producers.api.page_inbox import PageInbox
from headrace.producers.api.page_reading import page_reading
from headrace.producers.api.poller import Poller
from headrace.producers.api.request import address
from headrace.producers.delivery import DeliveryState, Exchange
from headrace.producers.files.records import read_records
from headrace.producers.retries import config_fingerprint
from headrace.stream import Stream
from support.intake_project import IntakeProject

NOW = datetime(2024, 6, 1, tzinfo=UTC)
SOURCE = {
    "kind": "api",
    "url": "https://api.example.com/items",
    "stream": "sales",
    "records": "rows",
}
WINDOW = {
    "window": {"size": "1d", "start": "2024-05-31"},
    "query": {"start": "{from}", "end": "{to}"},
}


class Server:
    """Has these ids, by now."""

    def __init__(self, ids: range) -> None:
        self.body = json.dumps({"items": [{"id": number} for number in ids]}).encode()

    def shown(self, text: str) -> str:
        return text

    async def fetch(self, request: PageRequest) -> Page:
        url = address(request)
        return Page(200, (), self.body, url, NOW, Exchange("GET", url, 200, (), NOW))


def poll(project: IntakeProject, source: ApiSource, answer: range | Server) -> int:
    """Poll once; how many requests failed."""
    inbox = PageInbox(
        "sales",
        "sales",
        project.ledger,
        project.spool,
        project.receiving,
        fingerprint=config_fingerprint(source, Stream()),
    )
    server = answer if isinstance(answer, Server) else Server(answer)
    poller = Poller("sales", source, server, inbox, lambda _: None, lambda: NOW)
    return len(asyncio.run(poller.poll()).failures)


def reject_new(project: IntakeProject, source: ApiSource) -> None:
    for row in project.rows():
        if row.state is DeliveryState.RECEIVED:
            used = config_fingerprint(source, Stream())
            project.ledger.reject(row.delivery_id, "its records are none", used)


@pytest.mark.parametrize(
    "asked_by",
    [{"cursor": {"field": "id", "parameter": "since", "type": "number"}}, WINDOW],
    ids=["cursor", "window"],
)
def test_what_is_asked_for_again_is_not_taken_twice(
    tmp_path: Path, asked_by: dict[str, object]
) -> None:
    project = IntakeProject(tmp_path)
    source = ApiSource.model_validate({**SOURCE, **asked_by})
    for upto in (3, 4):
        assert poll(project, source, range(upto)) == 1
    for row in project.rows():
        project.ledger.reject(row.delivery_id, "no records", "the config before")
    corrected = source.model_copy(update={"records": "items"})
    project.retries.after_a_change("sales", corrected, Stream())
    assert poll(project, corrected, range(5)) == 0
    documents = [
        json.loads(project.spool.payload("sales", row.delivery_id).read_bytes())
        for row in project.rows()
        if row.state is DeliveryState.RECEIVED
    ]
    assert [record["id"] for one in documents for record in one["items"]] == [0, 1, 2, 3, 4]


def test_what_is_not_asked_for_again_is_tried_again(tmp_path: Path) -> None:
    project = IntakeProject(tmp_path)
    cursor = {"field": "id", "parameter": "since", "type": "number"}
    source = ApiSource.model_validate({**SOURCE, "records": "items", "cursor": cursor})
    assert poll(project, source, range(3)) == 0
    (row,) = project.rows()
    project.ledger.reject(row.delivery_id, "its lines are damaged", "the config before")
    assert project.retries.after_a_change("sales", source, Stream()) == ([row.delivery_id], 0)


def test_a_page_that_is_rejected_is_one_row_however_often_it_comes(tmp_path: Path) -> None:
    project = IntakeProject(tmp_path)
    source = ApiSource.model_validate({**SOURCE, "records": "items"})
    for upto, failures in ((3, 0), (3, 1), (3, 1), (4, 0)):
        assert poll(project, source, range(upto)) == failures
        reject_new(project, source)
    assert [row.state for row in project.rows()] == [DeliveryState.REJECTED] * 2
    corrected = source.model_copy(update={"records": "items[]"})
    assert poll(project, corrected, range(4)) == 0
    assert [row.state for row in project.rows()] == [
        *[DeliveryState.REJECTED] * 2,
        DeliveryState.RECEIVED,
    ]


def test_arrays_of_different_lengths_are_no_page(tmp_path: Path) -> None:
    project = IntakeProject(tmp_path)
    source = ApiSource.model_validate({**SOURCE, "records": None, "parallel": "hourly"})

    class Uneven(Server):
        body = b'{"hourly": {"time": ["2024-01-01T00:00"], "v": [1, 2]}}'

        def __init__(self) -> None:
            pass

    for _ in range(3):
        assert poll(project, source, Uneven()) == 1
        reject_new(project, source)
    (row,) = project.rows()
    payload = project.spool.payload("sales", row.delivery_id)
    with pytest.raises(DeliveryRejectedError) as raised:
        page_reading(payload, row.name, None, source, Stream())
    assert raised.value.message.endswith(
        "different lengths at hourly (time 1, v 2), expected one length"
    )
    assert raised.value.remedy == "check `parallel` of the source"


def test_a_page_that_breaks_where_it_is_read_names_the_key_that_there_is(tmp_path: Path) -> None:
    page = tmp_path / "page"
    page.write_bytes(b'{"hourly": {"v": [1, NaN]}}')
    source = ApiSource.model_validate({**SOURCE, "records": None, "parallel": "hourly"})
    reading = page_reading(page, "GET /items", None, source, Stream())
    with pytest.raises(DeliveryRejectedError) as raised:
        list(read_records(page, reading, name="p", received_at=NOW, scratch=tmp_path / "scratch"))
    assert raised.value.remedy == "correct `parallel` of the source, or what is sent"
