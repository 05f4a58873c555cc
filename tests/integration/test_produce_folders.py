"""Watched folders whole: markers, files put away after landing, appended logs; to the topic."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
from collections import Counter
from pathlib import Path

import pytest

from headrace.infra.broker.server import BrokerServer
from headrace.producers.ledger.listing import list_deliveries
from headrace.producers.service import produce_once
from support.produce_landing import CONFIG_QUICK, bronze_ids, consuming, expected_ids, land
from support.produce_project import CONFIG, ProduceProject, read_topic
from support.produce_staying import names, staying, until

# Nothing is found by the look at everything that this would delay: what is found was heard of.
HEARING = "[produce]\nscan_every = 3600\n"


def config(*lines: str, base: str = CONFIG) -> str:
    """A source with these keys too."""
    return base.replace("settle = 0\n", "".join(f"{line}\n" for line in ("settle = 0", *lines)))


def written(project: ProduceProject, name: str, *rows: str) -> Path:
    """A file that was written where it is, closed and old."""
    path = project.inbox / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("item\n" + "".join(f"{row}\n" for row in rows))
    os.utime(path, ns=(1, 1))
    return path


@pytest.mark.parametrize("watch", ["events", "polling"])
async def test_under_up_files_wait_for_their_markers(
    tmp_path: Path, embedded_broker: BrokerServer, watch: str
) -> None:
    every = "3600" if watch == "events" else "1"
    both = (
        config(f'watch = "{watch}"', 'marker = ".done"')
        + '[sources.days]\nkind = "files"\npath = "days"\nstream = "sales"\nsettle = 0\n'
        + f'watch = "{watch}"\nmarker = "_SUCCESS"\n[produce]\nscan_every = {every}\n'
    )
    project = ProduceProject(tmp_path / "shop", config=both)
    day = project.root / "days" / "day=1"
    day.mkdir(parents=True)
    async with staying(project.config, embedded_broker.bootstrap_servers):
        written(project, "a.csv", "a")
        written(project, "b.csv", "b")
        written(project, "../days/day=1/c.csv", "c")
        (project.inbox / "b.csv.done").touch()
        await until(lambda: names(project, "published") == {"b.csv"})
        (day / "_SUCCESS").touch()
        (project.inbox / "a.csv.done").touch()
        await until(lambda: names(project, "published") == {"a.csv", "b.csv", "day=1/c.csv"})
    assert len(list_deliveries(project.config.paths.ledger)) == 3


async def test_a_pass_says_which_files_wait_for_their_marker(
    tmp_path: Path, embedded_broker: BrokerServer
) -> None:
    project = ProduceProject(tmp_path / "shop", config=config('marker = "_SUCCESS"'))
    for name in ("a.csv", "one/b.csv", "one/c.csv"):
        written(project, name, name)
    summary = await produce_once(
        project.config, bootstrap_servers=embedded_broker.bootstrap_servers
    )
    assert [(left.name, left.reason) for left in summary.left] == [
        ("a.csv", "waiting for the marker that says it is complete"),
        ("one/", "2 files: waiting for the marker that says it is complete"),
    ]
    assert summary.seconds < 10  # it does not wait for them


async def test_files_go_when_they_have_landed(
    tmp_path: Path, embedded_broker: BrokerServer
) -> None:
    project = ProduceProject(tmp_path / "shop", config=CONFIG_QUICK)
    servers = embedded_broker.bootstrap_servers
    done = project.root / "done"
    async with consuming(project, servers):
        project.drop_rows("kept.csv", 3)
        await land(project, servers)
        project.write(config('after_landing = "move"', 'move_to = "done"', base=CONFIG_QUICK))
        project.drop_rows("a.csv", 3)
        project.drop("broken.csv")
        (project.inbox / "broken.csv").write_bytes(b"PK\x03\x04" + bytes(range(256)) * 8)
        await land(project, servers)
        assert {path.name for path in done.iterdir()} == {"kept.csv", "a.csv"}
        assert [path.name for path in project.inbox.iterdir()] == ["broken.csv"]
        async with staying(project.config, servers):
            project.drop("a.csv", *"wxyz")
            await until((done / "a-2.csv").exists)
            (done / "kept.csv").rename(project.inbox / "again.csv")  # a duplicate
            await until((done / "again.csv").exists)
        assert [path.name for path in project.inbox.iterdir()] == ["broken.csv"]
        project.write(config('after_landing = "delete"', base=CONFIG_QUICK))
        project.drop_rows("b.csv", 5)
        await land(project, servers)
        assert [path.name for path in project.inbox.iterdir()] == ["broken.csv"]
    assert bronze_ids(project) == expected_ids(project)
    assert sum(bronze_ids(project).values()) == 3 + 3 + 4 + 5


FOLLOW = config(
    "follow = true",
    'format = "lines"',
    "lines = { pattern = '(?P<line>.*)' }",
    'patterns = ["*.log", "*.log.*"]',
).replace("settle = 0", "settle = 0.2")


@pytest.fixture(scope="module")
def apache(shared_data: Path) -> list[str]:
    """Real lines of an access log."""
    text = gzip.decompress((shared_data / "streams/elastic_apache_access.log.gz").read_bytes())
    return text.decode().splitlines()


async def published_lines(servers: str) -> Counter[str]:
    """The lines on the topic, each event once: a consumer drops what it has."""
    events = {record.event_id: record.value or b"null" for record in await read_topic(servers)}
    return Counter(json.loads(value)["line"] for value in events.values())


async def test_under_up_a_log_is_followed_across_rotations(
    tmp_path: Path, embedded_broker: BrokerServer, apache: list[str]
) -> None:
    project = ProduceProject(tmp_path / "shop", config=FOLLOW + HEARING)
    servers = embedded_broker.bootstrap_servers
    log = project.inbox / "access.log"
    lines = [f"{number} {line}" for number, line in enumerate(apache[:3_000])]

    def size() -> int:
        """Bytes of lines on the topic so far, by the names of their pieces."""
        published = names(project, "published")
        return sum(
            int(to) - int(since.rpartition(":")[2])
            for since, to in (name.rpartition("@")[2].split("-") for name in published)
        )

    total = 0
    async with staying(project.config, servers):
        with log.open("a") as file:  # as a server does, which never closes it
            for first in range(0, 1_500, 500):
                text = "".join(f"{line}\n" for line in lines[first : first + 500])
                file.write(text)
                file.flush()
                total += len(text.encode())
                await until(lambda: size() == total)  # noqa: B023
            file.write("".join(f"{line}\n" for line in lines[1_500:2_000]))
            log.rename(project.inbox / "access.log.1")
            file.write("the end")
        log.write_text("".join(f"{line}\n" for line in lines[2_000:2_500]))
        expected = sum(len(line.encode()) + 1 for line in lines[:2_500]) + len("the end")
        await until(lambda: size() == expected)
    # While nobody was there.
    with log.open("a") as file:
        file.write("".join(f"{line}\n" for line in lines[2_500:2_900]) + "half a li")
    (project.inbox / "access.log.2").write_bytes(log.read_bytes())
    os.truncate(log, 0)
    log.write_text("".join(f"{line}\n" for line in lines[2_900:]))
    await produce_once(project.config, bootstrap_servers=servers)
    assert await published_lines(servers) == Counter([*lines, "the end", "half a li"])


async def test_after_a_lost_ledger_a_log_goes_on(
    tmp_path: Path, embedded_broker: BrokerServer
) -> None:
    project = ProduceProject(tmp_path / "shop", config=FOLLOW)
    servers = embedded_broker.bootstrap_servers
    log = project.inbox / "app.log"
    for number in range(2):
        with log.open("a") as file:
            file.write(f"same\n{number}\n")
        await produce_once(project.config, bootstrap_servers=servers)
        for file_ in project.config.paths.ledger.parent.glob("ledger.db*"):
            await asyncio.to_thread(file_.unlink)
    await produce_once(project.config, bootstrap_servers=servers)
    assert await published_lines(servers) == {"same": 2, "0": 1, "1": 1}
