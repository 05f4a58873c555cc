"""Members of the group that were killed: dismissed at once, instead of when their session expires.

Each consumer holds a lock file that the operating system releases however the process ends. The
next one of the same project finds such files unlocked and leaves the group in their name. Nothing
depends on it but time: a dead member on another host is waited for, as Kafka has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Container, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import structlog
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.group import LeaveGroupRequest
from filelock import FileLock, Timeout

from headrace.errors import LakeError

log = structlog.get_logger("consume")

_SUFFIX = ".member"
_TIMEOUT_MS = 5_000
_JOIN_SECONDS = 5.0
_LOOK_SECONDS = 0.05


@contextmanager
def member_name(folder: Path) -> Iterator[str]:
    """A client id of this process's own, and the lock file that says it is alive.

    Raises `LakeError` where the folder cannot be written.
    """
    name = f"headrace-{uuid4().hex}"
    path = folder / (name + _SUFFIX)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=0)
        lock.acquire()
    except OSError as error:
        raise LakeError(
            f"cannot write {folder}: {error.strerror}",
            remedy="check that the project's folder can be written to",
        ) from error
    try:
        yield name
    finally:
        path.unlink(missing_ok=True)
        lock.release()


async def dismiss_departed(bootstrap_servers: str, group: str, folder: Path, own: str) -> None:
    """Leave the group in the name of members whose processes are gone; `own` is about to join.

    Not before it has: Kafka lets the first member of an empty group wait for others (for 3 s,
    `group.initial.rebalance.delay.ms`), and no member of one that is not empty.
    """
    with ExitStack() as held:
        departed = {path.stem: path for path in _unlocked(folder, held) if path.stem != own}
        if not departed:
            return
        try:
            await _leave(bootstrap_servers, group, departed.keys(), own)
        except (KafkaError, OSError) as error:
            log.warning("departed_not_dismissed", group=group, error=str(error))
            return
        for path in departed.values():
            path.unlink(missing_ok=True)


def _unlocked(folder: Path, held: ExitStack) -> Iterator[Path]:
    """The lock files whose holders are gone; held by us until the stack ends."""
    for path in sorted(folder.glob("*" + _SUFFIX)):
        lock = FileLock(path, timeout=0)
        try:
            held.enter_context(lock.acquire())
        except (Timeout, OSError):
            continue  # alive
        yield path


async def _leave(bootstrap_servers: str, group: str, names: Container[str], own: str) -> None:
    client = AIOKafkaClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=_TIMEOUT_MS)
    try:
        await client.bootstrap()
        node = await client.coordinator_lookup(CoordinationType.GROUP, group)
        members: dict[str, str] = {}
        with suppress(TimeoutError):
            async with asyncio.timeout(_JOIN_SECONDS):
                while own not in members.values():
                    members = await _members(client, node, group)
                    if not any(name in names for name in members.values()):
                        return
                    await asyncio.sleep(_LOOK_SECONDS)
        for member, name in members.items():
            if name in names:
                await client.send(node, LeaveGroupRequest(group, member))
                log.info("departed_member_dismissed", group=group, member=member)
    finally:
        await client.close()


async def _members(client: AIOKafkaClient, node: int, group: str) -> dict[str, str]:
    """The client ids of a group's members, by member id."""
    answer = await client.send(node, DescribeGroupsRequest([group]))
    return {
        member[0]: member[1]
        for _error, _group, _state, _type, _protocol, members, *_ in answer.groups
        for member in members
    }
