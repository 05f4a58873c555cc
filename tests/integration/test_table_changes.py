"""Bronze deleted, restored or put back from a copy under a running consumer: no gap, nothing twice.

It heals by itself or stops and says why; started again it goes on from what the table says.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.fs import DeltaStorageHandler

from headrace.consumers.service import consume
from headrace.errors import LakeError
from headrace.infra.broker.server import BrokerServer
from headrace.lakehouse.delta import Lake, Step
from parts.s3 import S3Server
from support.consume_project import ConsumeProject, ids, wait_for
from support.source_ids import differences

RECORDS = 50


@pytest.fixture
async def project(tmp_path: Path, embedded_broker: BrokerServer) -> ConsumeProject:
    return ConsumeProject(tmp_path / "shop", embedded_broker.bootstrap_servers)


@asynccontextmanager
async def consuming(project: ConsumeProject) -> AsyncIterator[asyncio.Task[None]]:
    """The role in this process, which may end by an error of its own."""
    stop = asyncio.Event()
    role = asyncio.create_task(
        consume(project.config, bootstrap_servers=project.bootstrap_servers, stop=stop)
    )
    try:
        yield role
    finally:
        stop.set()
        await asyncio.gather(role, return_exceptions=True)


def put_back(project: ConsumeProject, copy: Path) -> None:
    """The whole table as it was."""
    shutil.rmtree(project.table)
    copy.rename(project.table)


def cut_log(project: ConsumeProject, copy: Path) -> None:
    """The log as it was, as a tool leaves it that mirrors a copy file by file."""
    for file in (project.table / "_delta_log").iterdir():
        if not (copy / "_delta_log" / file.name).exists():
            file.unlink()


def put_back_and_go_on(project: ConsumeProject, copy: Path) -> None:
    """The same, and somebody else has committed to it: the versions are as many as before."""
    before = project.version()
    put_back(project, copy)
    while project.version() < before:
        table = DeltaTable(str(project.table))
        write_deltalake(table, table.to_pyarrow_table().slice(0, 0), mode="append")


@pytest.mark.parametrize("change", [put_back, cut_log, put_back_and_go_on])
async def test_an_older_copy_put_back_stops_it_and_the_next_goes_on_from_there(
    project: ConsumeProject, tmp_path: Path, change: Callable[[ConsumeProject, Path], None]
) -> None:
    await project.publish(range(4), RECORDS)
    async with consuming(project) as role:
        await wait_for(lambda: project.landed().total() == 4 * RECORDS, "the first deliveries")
        shutil.copytree(project.table, tmp_path / "copy")
        await project.publish(range(4, 8), RECORDS)
        await wait_for(lambda: project.landed().total() == 8 * RECORDS, "the second ones")
        # What goes on with a delivery that is known asks the table nothing before it commits.
        change(project, tmp_path / "copy")
        await project.publish(range(4, 8), 2 * RECORDS, first=RECORDS)
        with pytest.raises(LakeError, match="rolled back or replaced") as caught:
            await asyncio.wait_for(asyncio.shield(role), 60)
    assert caught.value.remedy is not None
    assert project.landed().total() == 4 * RECORDS, "nothing was written onto the older copy"
    await project.consume_all()
    expected = ids(range(4), RECORDS) + ids(range(4, 8), 2 * RECORDS)
    assert differences(expected, project.landed()) == (0, 0)


async def test_restored_amid_the_stream_it_heals(project: ConsumeProject) -> None:
    await project.publish(range(4), RECORDS)
    async with consuming(project) as role:
        await wait_for(lambda: project.landed().total() == 4 * RECORDS, "the first deliveries")
        before = project.version()
        await project.publish(range(4, 8), RECORDS)
        await wait_for(lambda: project.landed().total() == 8 * RECORDS, "the second ones")
        DeltaTable(str(project.table)).restore(before)
        await project.publish(range(8, 12), RECORDS)
        await wait_for(lambda: project.landed().total() == 12 * RECORDS, "all of them again")
        assert not role.done()
    assert differences(ids(range(12), RECORDS), project.landed()) == (0, 0)


@pytest.mark.parametrize("where", ["folder", "s3"])
def test_a_handle_does_not_commit_to_a_log_that_was_cut(
    request: pytest.FixtureRequest, tmp_path: Path, where: str
) -> None:
    lake = Lake(str(tmp_path / "lake"))
    if where == "s3":
        server: S3Server = request.getfixturevalue("s3_server")
        bucket = request.getfixturevalue("s3_bucket")
        lake = Lake(f"s3://{bucket}/lake", server.storage_options)
    schema = pa.schema([("a", pa.int64())])
    rows = pa.table({"a": [1, 2]})
    table, other = (lake.create("bronze", "sales", schema) for _ in range(2))
    for n in range(1, 4):
        table.commit(rows, {"app": Step(n - 1 or None, n)})
    other.refresh()
    log = DeltaStorageHandler(lake.table_uri("bronze", "sales"), options=dict(lake.options))
    log.delete_file(f"_delta_log/{3:020}.json")
    with pytest.raises(LakeError, match="rolled back or replaced"):
        table.commit(rows, {"app": Step(3, 4)})
    fresh = lake.open("bronze", "sales")
    assert fresh is not None
    assert (fresh.version, fresh.position("app")) == (2, 2)
    fresh.commit(rows, {"app": Step(2, 30)})  # the same version once more, with something else
    for late in (table, other):
        with pytest.raises(LakeError, match="rolled back or replaced"):
            late.commit(rows, {"app": Step(3, 4)})
    with pytest.raises(LakeError, match="rolled back or replaced"):
        other.refresh()
