"""The link to the broker over a whole run: made anew where it was lost, as long as that helps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Final

import structlog

from headrace.errors import BrokerError
from headrace.producers.publishing.broker_link import BrokerLink

log = structlog.get_logger("produce")

CONNECT_PATIENCE_SECONDS: Final = 30.0
_LOSSES_WITHOUT_PROGRESS: Final = 5
_FIRST_PAUSE_SECONDS: Final = 0.1


class BrokerSession:
    """Holds the one link that all of a run's deliveries share."""

    def __init__(
        self,
        make_link: Callable[[], BrokerLink],
        topics: Collection[str],
    ) -> None:
        self._make_link = make_link
        self._topics = topics
        self._renewing = asyncio.Lock()
        self._losses = 0
        self.link = make_link()
        self.lost: str | None = None
        """Why there is no link now; None: there is one."""

    async def open(self) -> None:
        """Connect; raises `BrokerError` where the broker cannot be reached."""
        await self.link.connect(self._topics, CONNECT_PATIENCE_SECONDS)

    async def close(self) -> None:
        """Disconnect."""
        await self.link.close()

    def progressed(self) -> None:
        """The broker acknowledged something: what was lost before is forgiven."""
        self._losses = 0

    async def renew(self, lost: BrokerLink, reason: str) -> None:
        """Put a new link in the place of a lost one, unless somebody has already."""
        async with self._renewing:
            if self.link is not lost:
                return
            self._losses += 1
            log.warning("broker_link_lost", reason=reason, times=self._losses)
            if self._losses > _LOSSES_WITHOUT_PROGRESS:
                raise BrokerError(
                    f"the broker at {lost.bootstrap_servers} accepts connections but no records:"
                    f" {reason}",
                    remedy="its log says why; what was acknowledged is not sent again",
                )
            self.lost = reason
            await lost.close()
            await asyncio.sleep(_FIRST_PAUSE_SECONDS * 2**self._losses)
            link = self._make_link()
            await link.connect(self._topics, CONNECT_PATIENCE_SECONDS)
            self.link = link
            self.lost = None
