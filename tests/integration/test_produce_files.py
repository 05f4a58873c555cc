"""From files in a folder to records on a topic, over the embedded broker."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from headrace.errors import BrokerError, ConfigError, LedgerError, ProjectLockedError
from headrace.producers.ledger.listing import list_deliveries
from headrace.producers.outcome import ProduceProgress, ProduceSummary
from headrace.producers.publishing import broker_session
from headrace.producers.service import produce_once
from support.produce_project import CONFIG, ProduceProject, read_topic

if TYPE_CHECKING:
    from headrace.infra.broker.server import BrokerServer


@pytest.fixture
def project(tmp_path: Path) -> ProduceProject:
    return ProduceProject(tmp_path / "shop")


async def produce(
    project: ProduceProject, broker: BrokerServer, source: str | None = None
) -> ProduceSummary:
    return await produce_once(
        project.config, bootstrap_servers=broker.bootstrap_servers, source=source
    )


def states(project: ProduceProject) -> list[tuple[str, str]]:
    return [(row.name, row.state.value) for row in list_deliveries(project.config.paths.ledger)]


async def items(broker: BrokerServer) -> list[str]:
    """The column `item` of every record on the topic, sorted."""
    records = await read_topic(broker.bootstrap_servers)
    return sorted(json.loads(record.value or b"")["item"] for record in records)


async def test_every_row_of_every_file_is_on_the_topic_once(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    for number in range(5):
        project.drop_rows(f"{number}.csv", 100 * number)
    summary = await produce(project, embedded_broker)
    assert (summary.received, summary.published, summary.records) == (5, 5, 1_000)
    assert summary.figures()["rejected"] == 0
    expected = sorted(f"{n}.csv {row}" for n in range(5) for row in range(100 * n))
    assert await items(embedded_broker) == expected


async def test_a_delivery_goes_wholly_and_in_order_to_one_topic_partition(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    for number in range(6):
        project.drop_rows(f"{number}.csv", 5_000)
    await produce(project, embedded_broker)
    by_delivery: dict[str, list[tuple[int, int]]] = {}
    partitions: dict[str, set[int]] = {}
    for record in await read_topic(embedded_broker.bootstrap_servers):
        delivery_id, _, record_number = record.event_id.rpartition(":")
        by_delivery.setdefault(delivery_id, []).append((record.offset, int(record_number)))
        partitions.setdefault(delivery_id, set()).add(record.partition)
    rows = list_deliveries(project.config.paths.ledger)
    assert {row.delivery_id: {row.topic_partition} for row in rows} == partitions
    assert len({row.topic_partition for row in rows}) == 4
    for row in rows:
        in_offset_order = [number for _, number in sorted(by_delivery[row.delivery_id])]
        assert in_offset_order == list(range(5_000))
        assert row.last_offset == max(offset for offset, _ in by_delivery[row.delivery_id])


async def test_records_carry_the_event_time_of_the_streams_rule(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    project.write(stream='event_time = "item"\ntimezone = "Europe/London"\n')
    project.drop("a.csv", "2026-07-01 12:00:00", "never")
    await produce(project, embedded_broker)
    first, second = await read_topic(embedded_broker.bootstrap_servers)
    assert first.headers["ce_time"] == b"2026-07-01T11:00:00Z"
    assert "ce_time" not in second.headers
    assert first.headers["ce_source"] == b"sales"


async def test_a_second_run_changes_and_records_nothing(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    project.drop_rows("a.csv", 10)
    await produce(project, embedded_broker)
    before = list_deliveries(project.config.paths.ledger)
    summary = await produce(project, embedded_broker)
    assert (summary.received, summary.published, summary.records) == (0, 0, 0)
    assert list_deliveries(project.config.paths.ledger) == before
    assert len(await items(embedded_broker)) == 10


async def test_content_dropped_again_is_published_once_and_listed_as_a_duplicate(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    project.drop("a.csv", "x", "y")
    await produce(project, embedded_broker)
    project.drop("b.csv", "x", "y")
    summary = await produce(project, embedded_broker)
    assert (summary.received, summary.duplicates) == (0, 1)
    assert states(project) == [("a.csv", "published"), ("b.csv", "duplicate")]
    assert await items(embedded_broker) == ["x", "y"]


async def test_a_b_a_under_one_name_is_published_three_times(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    for content in ("A", "B", "A"):
        project.drop("a.csv", content)
        await produce(project, embedded_broker)
    assert await items(embedded_broker) == ["A", "A", "B"]


async def test_a_file_that_cannot_be_read_is_rejected_and_the_others_go_on(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    (project.inbox / "b.csv").write_bytes(b"PK\x03\x04" + bytes(range(256)) * 8)
    project.drop("a.csv", "x")
    project.drop("c.csv", "y")
    summary = await produce(project, embedded_broker)
    assert states(project) == [
        ("a.csv", "published"),
        ("b.csv", "rejected"),
        ("c.csv", "published"),
    ]
    (rejection,) = summary.rejections
    assert rejection.name == "b.csv"
    assert rejection.reason is not None
    assert "b.csv" in rejection.reason
    assert await items(embedded_broker) == ["x", "y"]
    # Still rejected, but not recorded again; until it is gone.
    summary = await produce(project, embedded_broker)
    assert (summary.rejected, summary.received, len(states(project))) == (1, 0, 3)
    (project.inbox / "b.csv").unlink()
    assert (await produce(project, embedded_broker)).rejected == 0


async def test_a_rejected_delivery_is_taken_once_the_config_is_right(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    project.write(stream='event_time = "When"\n')
    project.drop("a.csv", "x", "y")
    summary = await produce(project, embedded_broker)
    (rejected,) = summary.rejections
    assert "When" in str(rejected.reason)
    project.write(stream="")
    summary = await produce(project, embedded_broker)
    assert (summary.rejected, summary.published) == (0, 1)
    (row,) = list_deliveries(project.config.paths.ledger)
    assert (row.delivery_id, row.state) == (rejected.delivery_id, "published")
    assert await items(embedded_broker) == ["x", "y"]


async def test_a_broken_row_costs_itself_alone(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    (project.inbox / "a.csv").write_text("a,b\n1,2\n3\n4,5\n")
    summary = await produce(project, embedded_broker)
    assert (summary.records, summary.unreadable_records, summary.rejected) == (3, 1, 0)
    records = await read_topic(embedded_broker.bootstrap_servers)
    types = Counter(record.headers["ce_type"] for record in records)
    assert types == {b"headrace.record.v1": 2, b"headrace.unreadable.v1": 1}
    (row,) = list_deliveries(project.config.paths.ledger)
    assert (row.records, row.unreadable_records) == (3, 1)


async def test_a_record_over_the_message_limit_goes_as_its_place_in_the_spool(
    tmp_path: Path, embedded_broker: BrokerServer
) -> None:
    project = ProduceProject(
        tmp_path / "shop", config=CONFIG + "[broker]\nmax_message_bytes = 4096"
    )
    project.drop("a.csv", "x", "y" * 10_000, "z")
    summary = await produce(project, embedded_broker)
    assert (summary.records, summary.unreadable_records) == (3, 1)
    records = await read_topic(embedded_broker.bootstrap_servers)
    place = json.loads(records[1].value or b"")
    assert (project.root / place["payload"]).read_text().splitlines()[2] == "y" * 10_000
    assert place["record_number"] == 1


async def test_a_growing_file_is_left_for_the_next_time(
    tmp_path: Path, embedded_broker: BrokerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.producers.round._GROWTH_PATIENCE_SECONDS", 0.5)
    project = ProduceProject(
        tmp_path / "shop", config=CONFIG.replace("settle = 0", 'settle = "400ms"')
    )
    project.drop("done.csv", "x")
    stop = asyncio.Event()

    async def keep_growing() -> None:
        with (project.inbox / "growing.csv").open("w") as file:
            while not stop.is_set():
                print("item", file=file, flush=True)
                await asyncio.sleep(0.02)

    growing = asyncio.create_task(keep_growing())
    summary = await produce(project, embedded_broker)
    stop.set()
    await growing
    assert [(left.source, left.name) for left in summary.left] == [("sales", "growing.csv")]
    assert states(project) == [("done.csv", "published")]
    summary = await produce(project, embedded_broker)
    assert (summary.left, summary.published) == ((), 1)


async def test_one_source_alone(tmp_path: Path, embedded_broker: BrokerServer) -> None:
    other = (
        CONFIG + '[sources.other]\nkind = "files"\npath = "other"\nstream = "sales"\nsettle = 0\n'
    )
    project = ProduceProject(tmp_path / "shop", config=other)
    (project.root / "other").mkdir()
    project.drop("a.csv", "x")
    (project.root / "other" / "b.csv").write_text("item\ny\n")
    assert (await produce(project, embedded_broker, source="other")).received == 1
    assert await items(embedded_broker) == ["y"]
    with pytest.raises(ConfigError, match="there is no source 'missing'"):
        await produce(project, embedded_broker, source="missing")


async def test_two_sources_may_bring_the_same_content(
    tmp_path: Path, embedded_broker: BrokerServer
) -> None:
    other = (
        CONFIG + '[sources.other]\nkind = "files"\npath = "other"\nstream = "sales"\nsettle = 0\n'
    )
    project = ProduceProject(tmp_path / "shop", config=other)
    (project.root / "other").mkdir()
    project.drop("a.csv", "x")
    (project.root / "other" / "a.csv").write_text("item\nx\n")
    assert (await produce(project, embedded_broker)).received == 2


async def test_a_missing_folder_is_said_and_keeps_no_other_source(
    tmp_path: Path, embedded_broker: BrokerServer
) -> None:
    other = '[sources.away]\nkind = "files"\npath = "nowhere"\nstream = "sales"\nsettle = 0\n'
    project = ProduceProject(tmp_path / "shop", config=CONFIG + other)
    project.drop("a.csv", "x")
    summary = await produce(project, embedded_broker)
    assert (summary.published, summary.figures()["unreachable"]) == (1, 1)
    (notice,) = summary.notices()
    assert notice.startswith("sources.away.path: there is no folder")
    assert "-> mkdir -p" in notice


async def test_a_second_producer_is_refused(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    project.drop("a.csv", "x")
    refusals: list[ProjectLockedError] = []

    async def meanwhile() -> None:
        try:
            await produce(project, embedded_broker)
        except ProjectLockedError as error:
            refusals.append(error)

    others: list[asyncio.Task[None]] = []

    def on_progress(_: ProduceProgress) -> None:
        if not others:
            others.append(asyncio.create_task(meanwhile()))

    await produce_once(
        project.config, bootstrap_servers=embedded_broker.bootstrap_servers, progress=on_progress
    )
    await asyncio.gather(*others)
    assert len(refusals) == 1
    assert await items(embedded_broker) == ["x"]


async def test_a_broker_that_cannot_be_reached_says_so_after_a_while(
    project: ProduceProject, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    monkeypatch.setattr(broker_session, "CONNECT_PATIENCE_SECONDS", 1.0)
    project.drop("a.csv", "x")
    with pytest.raises(BrokerError, match="cannot be used") as refused:
        await produce_once(project.config, bootstrap_servers=f"127.0.0.1:{unused_tcp_port}")
    assert "bootstrap_servers" in str(refused.value)


async def test_an_address_that_is_none_is_a_config_error(project: ProduceProject) -> None:
    project.drop("a.csv", "x")
    with pytest.raises(ConfigError, match="expected host:port"):
        await produce_once(project.config, bootstrap_servers="127.0.0.1:kafka")


async def test_a_state_folder_that_cannot_be_written_says_so(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    project.config.paths.state.write_text("in the way")
    with pytest.raises(LedgerError, match="cannot be written"):
        await produce(project, embedded_broker)


async def test_nothing_is_left_in_scratch(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    leftover = project.config.paths.scratch / "read" / "killed" / "spill"
    leftover.parent.mkdir(parents=True)
    leftover.write_text("x")
    project.drop_rows("a.csv", 10)
    await produce(project, embedded_broker)
    assert [path for path in project.config.paths.scratch.rglob("*") if path.is_file()] == []


async def test_progress_ends_at_the_total(
    project: ProduceProject, embedded_broker: BrokerServer
) -> None:
    for number in range(3):
        project.drop_rows(f"{number}.csv", 10)
    told: list[ProduceProgress] = []
    await produce_once(
        project.config, bootstrap_servers=embedded_broker.bootstrap_servers, progress=told.append
    )
    assert told[-1] == ProduceProgress(3, 3, 0, 30)
