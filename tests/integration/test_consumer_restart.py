"""A consumer killed with SIGKILL and started again: the next commit comes within seconds.

With the settings a new project has. Waiting for the dead member's session would take 10 s longer.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from headrace.config_file import load_config
from headrace.consumers import departed
from headrace.infra.broker.server import BrokerServer
from parts.kafka import KafkaNode
from support.consume_project import ConsumeProject, ids, wait_for
from support.source_ids import differences

# From the start of the role's work on; a process of its own adds its imports, about 1.5 s.
LIMIT_SECONDS = 5.0


@pytest.fixture(params=["embedded", "kafka"])
async def project(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ConsumeProject]:
    """A project on either broker, with the settings it has where nothing is said."""
    name = f"p{uuid4().hex[:12]}"
    if request.param == "kafka":
        node: KafkaNode = request.getfixturevalue("real_kafka")
        yield _with_defaults(ConsumeProject(tmp_path / "shop", node.bootstrap_servers, name=name))
        return
    async with BrokerServer(tmp_path / "broker") as broker:
        yield _with_defaults(ConsumeProject(tmp_path / "shop", broker.bootstrap_servers, name=name))


def _with_defaults(project: ConsumeProject) -> ConsumeProject:
    file = project.root / "headrace.toml"
    before, consume, after = file.read_text().partition("[consume]\n")
    file.write_text(before + after[after.index("[broker]") :])
    assert consume
    project.config = load_config(project.root)
    return project


async def test_its_work_is_taken_up_at_once(
    project: ConsumeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    await project.publish(range(4), 100)
    role = await project.start_role()
    try:
        await wait_for(lambda: project.landed().total() == 400, "the first deliveries", 60)
    finally:
        role.kill()
        await role.wait()
    await project.publish(range(4, 8), 100)
    seen: list[set[str]] = []
    look = departed._members

    async def members(*arguments: object) -> dict[str, str]:
        found = await look(*arguments)  # type: ignore[arg-type]
        seen.append(set(found.values()))
        return found

    monkeypatch.setattr(departed, "_members", members)
    before = project.version()
    began = time.monotonic()
    async with project.consuming():
        await wait_for(lambda: project.version() > before, "the next commit", 60)
        seconds = time.monotonic() - began
        await wait_for(lambda: project.landed().total() == 800, "all deliveries", 60)
    assert seconds < LIMIT_SECONDS
    assert differences(ids(range(8), 100), project.landed()) == (0, 0)
    assert len(seen[-1]) == 2, "the dead one is dismissed when we have joined, not before"
    assert not list((project.config.paths.locks / "consume").iterdir())
