"""When the embedded broker's writes are on the disk, and what it says when they may not be."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from headrace.infra.broker.durability import Durability
from headrace.infra.broker.log import LogWriteError, PartitionLog
from headrace.infra.broker.settings import BrokerSettings
from support.record_batches import batch, put


@pytest.mark.parametrize("call", ["fsync", "dup"])
async def test_who_waits_hears_of_a_failure_and_the_log_takes_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "1").mkdir()
    log, other = (PartitionLog(tmp_path / name, BrokerSettings()) for name in "01")
    put(log, batch([b"x"]))
    put(other, batch([b"x"]))
    durability = Durability("group")

    def fail(_: int) -> int:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, call, fail)
        with pytest.raises(OSError, match="Input/output error"):
            await asyncio.wait_for(durability.sync_soon([log]), 60)
    with pytest.raises(LogWriteError, match="fsync failed"):
        put(log, batch([b"y"]))
    put(other, batch([b"y"]))
    await asyncio.wait_for(durability.sync_soon([other]), 60)  # others go on
    await durability.close()
    log.close()
    other.close()
