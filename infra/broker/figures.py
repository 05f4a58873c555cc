"""What a broker's `/metrics` and `/healthz` say of it."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Collection
from typing import Final

from headrace.infra.broker.server import BrokerServer
from headrace.infra.broker.wire import APIS
from headrace.metrics import (
    BROKER_CONNECTIONS,
    BROKER_LOG_BYTES,
    BROKER_LOG_RECORDS,
    BROKER_REQUESTS,
    BROKER_UNLANDED,
)

# Less than this is no room for one more segment.
_FULL_BYTES: Final = 1_000_000
OTHER_TOPICS: Final = "other"


class BrokerFigures:
    """Reads a broker when asked, so that serving a request costs it no more than an addition.

    `topics` are the project's own; whatever else clients make there counts as "other". One thread
    at a time.
    """

    def __init__(self, topics: Collection[str]) -> None:
        self._known = {*topics, OTHER_TOPICS}
        self._server: BrokerServer | None = None
        self._counted = dict.fromkeys(APIS, 0)
        self._unlanded: Counter[str] = Counter()
        self._requests = {key: BROKER_REQUESTS.labels(api.name) for key, api in APIS.items()}
        for topic in self._known:
            BROKER_LOG_BYTES.labels(topic)
            BROKER_LOG_RECORDS.labels(topic)
            BROKER_UNLANDED.labels(topic)

    def attach(self, server: BrokerServer) -> None:
        """It listens from now on."""
        self._server = server

    def set_metrics(self) -> None:
        """Bring the metrics up to date."""
        server = self._server
        if server is None:
            return
        BROKER_CONNECTIONS.labels(f"{server.host}:{server.port}").set(server.connections)
        for key, count in server.requests.items():
            self._requests[key].inc(count - self._counted[key])
            self._counted[key] = count
        size: Counter[str] = Counter()
        records: Counter[str] = Counter()
        unlanded = Counter(server.unlanded)
        for name, count in (unlanded - self._unlanded).items():
            BROKER_UNLANDED.labels(self._label(name)).inc(count)
        self._unlanded = unlanded
        for topic in server.topics:
            label = self._label(topic.name)
            for log in topic.logs:
                size[label] += log.size_bytes
                records[label] += log.next_offset - log.start_offset
        for label in self._known:
            BROKER_LOG_BYTES.labels(label).set(size[label])
            BROKER_LOG_RECORDS.labels(label).set(records[label])

    def _label(self, topic: str) -> str:
        return topic if topic in self._known else OTHER_TOPICS

    def trouble(self) -> str | None:
        """Why it does not do its work; None while it does."""
        server = self._server
        if server is None:
            return "it does not listen yet"
        for topic in server.topics:
            for partition, log in enumerate(topic.logs):
                trouble = log.trouble(time.monotonic())
                if trouble is not None:
                    return f"{topic.name}-{partition} takes no records: {trouble}"
        try:
            free = shutil.disk_usage(server.folder).free
        except OSError as error:
            return f"its data folder {server.folder} cannot be read: {error.strerror}"
        if free < _FULL_BYTES:
            return f"there is no space left on the disk of {server.folder}"
        return None
