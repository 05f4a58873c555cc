"""All groups of the broker: their requests parked and answered, their deadlines kept."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from headrace.infra.broker.groups import Group

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from headrace.infra.broker.group_member import Answer, Joined, Synced
    from headrace.infra.broker.settings import BrokerSettings

_log = structlog.get_logger("broker")


class GroupCoordinator:
    """The group state machines between the event loop's clock and the connections."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self._groups: dict[str, Group] = {}
        self._parked: dict[int, asyncio.Future[Joined | Synced]] = {}
        self._last_ticket = 0
        self._timers: dict[str, asyncio.TimerHandle] = {}

    @property
    def now(self) -> float:
        """The clock of all group deadlines, in seconds."""
        return asyncio.get_running_loop().time()

    @property
    def group_ids(self) -> tuple[str, ...]:
        """The groups somebody has joined since the start."""
        return tuple(self._groups)

    def get(self, group_id: str) -> Group | None:
        """The group, if somebody has joined it since the start."""
        return self._groups.get(group_id)

    def forget(self, group_id: str) -> None:
        """Drop a group without members."""
        self._groups.pop(group_id, None)

    def forget_idle(self, kept: Collection[str]) -> None:
        """Drop the groups nobody is in or about to join, but those `kept` (for their offsets)."""
        for group_id, group in list(self._groups.items()):
            if group.is_idle and group_id not in kept:
                self.forget(group_id)

    def get_or_make(self, group_id: str) -> Group:
        """The group, a new one if need be."""
        group = self._groups.get(group_id)
        if group is None:
            delay = self._settings.initial_rebalance_delay_seconds
            most = self._settings.max_group_members
            group = self._groups[group_id] = Group(group_id, delay, most)
        return group

    async def ask(self, group: Group, question: Callable[[int], list[Answer]]) -> Joined | Synced:
        """Put a question with a fresh ticket to the group; returns when it is answered."""
        self._last_ticket += 1
        ticket = self._last_ticket
        result: asyncio.Future[Joined | Synced] = asyncio.get_running_loop().create_future()
        self._parked[ticket] = result
        try:
            self.settle(group, question(ticket))
            return await result
        finally:
            del self._parked[ticket]

    def settle(self, group: Group, answers: list[Answer]) -> None:
        """Hand out answers, and come back when the group has something to do next."""
        for answer in answers:
            waiting = self._parked.get(answer.ticket)
            if waiting is not None and not waiting.done():
                waiting.set_result(answer.result)
        timer = self._timers.pop(group.group_id, None)
        if timer is not None:
            timer.cancel()
        deadline = group.next_deadline()
        if deadline is not None:
            loop = asyncio.get_running_loop()
            self._timers[group.group_id] = loop.call_at(deadline, self._advance, group)

    def _advance(self, group: Group) -> None:
        # A timer may fire a moment early (uvloop counts in milliseconds).
        now = max(self.now, group.next_deadline() or 0.0)
        before = set(group.members)
        self.settle(group, group.advance(now))
        for member_id in before - set(group.members):
            _log.warning("group member expired", group=group.group_id, member=member_id)

    def close(self) -> None:
        """Stop all timers."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
