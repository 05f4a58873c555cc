"""Asks the topic whether published deliveries are still there: their last records, where they were.

An outage is waited out, but not for ever.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from headrace.config import Config
from headrace.errors import BrokerError
from headrace.event import format_event_id
from headrace.producers.delivery import DeliveryRow
from headrace.producers.publishing.broker_link import LinkLostError
from headrace.producers.publishing.broker_session import BrokerSession
from headrace.producers.publishing.landing import Sight

log = structlog.get_logger("produce")

_LOOKS_AT_ONCE: Final = 20
_BROKER_PATIENCE_SECONDS: Final = 60.0


class TopicLooks:
    """What was asked of the topic about deliveries that wait to land."""

    def __init__(self, config: Config, session: BrokerSession) -> None:
        self._config = config
        self._session = session
        self._asked_at: dict[str, float] = {}
        self._unanswered_since: float | None = None

    async def ask(
        self, rows: Mapping[str, DeliveryRow], missing: Sequence[Sight]
    ) -> dict[str, bool]:
        """Whether each one's last record is where it was acknowledged; absent: not known.

        Raises `BrokerError` where nobody has answered for long: nothing may ever land any more.
        """
        found: dict[str, bool] = {}
        longest_unasked = sorted(
            (s.delivery_id for s in missing if not s.passed),
            key=lambda delivery_id: self._asked_at.get(delivery_id, 0.0),
        )
        for delivery_id in longest_unasked:
            # A topic that has lost one has mostly lost them all: only looks that find what they
            # ask for are rationed.
            if sum(found.values()) >= _LOOKS_AT_ONCE:
                break
            asked_at = self._asked_at[delivery_id] = time.monotonic()
            row = rows[delivery_id]
            if row.last_offset is None or row.topic_partition is None:
                found[delivery_id] = False
                continue
            try:
                last_id = await self._session.link.event_id_at(
                    self._config.topic(row.stream), row.topic_partition, row.last_offset
                )
            except LinkLostError as error:
                log.info("topic_not_readable", reason=str(error))
                self._unanswered(asked_at, len(rows), error)
                break
            self._unanswered_since = None
            found[delivery_id] = last_id == format_event_id(delivery_id, (row.records or 0) - 1)
        return found

    def landed(self, delivery_id: str) -> None:
        """It has landed: whoever consumes is still served."""
        self._unanswered_since = None
        self.forget(delivery_id)

    def forget(self, delivery_id: str) -> None:
        """Nothing more is asked about it, or about another place on the topic."""
        self._asked_at.pop(delivery_id, None)

    def _unanswered(self, asked_at: float, waiting: int, error: LinkLostError) -> None:
        if self._unanswered_since is None:
            self._unanswered_since = asked_at
        if time.monotonic() - self._unanswered_since <= _BROKER_PATIENCE_SECONDS:
            return
        raise BrokerError(
            f"the broker at {self._session.link.bootstrap_servers} has not answered for"
            f" {_BROKER_PATIENCE_SECONDS:g} s, while {waiting} published deliveries have"
            f" not landed: {error}",
            remedy="start it again, then run again: it goes on where it was",
        ) from error
