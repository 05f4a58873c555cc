"""The broker in one piece: opens the data folder, listens, serves, watches, and closes cleanly."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Self

import structlog

from headrace.infra.broker.arrivals import Arrivals
from headrace.infra.broker.call import Call, Handler
from headrace.infra.broker.cluster_api import ClusterApi
from headrace.infra.broker.connection import Connection
from headrace.infra.broker.coordinator import GroupCoordinator
from headrace.infra.broker.durability import Durability
from headrace.infra.broker.errors import BrokerStartError, DataFolderLostError
from headrace.infra.broker.fetch_api import FetchApi
from headrace.infra.broker.folder import DataFolder
from headrace.infra.broker.group_admin_api import GroupAdminApi
from headrace.infra.broker.group_api import GroupApi
from headrace.infra.broker.offsets import GroupOffsets
from headrace.infra.broker.offsets_api import OffsetsApi
from headrace.infra.broker.produce_api import ProduceApi
from headrace.infra.broker.producer_ids import ProducerIds
from headrace.infra.broker.records_api import RecordsApi
from headrace.infra.broker.retention import Retention
from headrace.infra.broker.settings import BrokerSettings
from headrace.infra.broker.topics import Topic, Topics
from headrace.infra.broker.topics_api import TopicsApi
from headrace.infra.broker.wire import APIS, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

_log = structlog.get_logger("broker")
_STREAM_LIMIT_BYTES = 2 * 1024 * 1024
_ANY_HOST = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 (to recognise them, not to bind)


class BrokerServer:
    """A single-node Kafka broker over `data_dir`; an async context manager.

    `port` 0 takes a free one; `port` and `bootstrap_servers` say which once it is entered.
    `requests` counts what was asked since the start, by API key.

    Entering raises BrokerAlreadyRunningError, BrokerFormatError or BrokerStartError (the port is
    taken, the folder can't be written).
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        settings: BrokerSettings | None = None,
    ) -> None:
        self.settings = settings or BrokerSettings()
        self.host = host
        self.port = port
        self.requests = dict.fromkeys(APIS, 0)
        self._folder = DataFolder(data_dir)
        self._topics = Topics(self._folder.topics, self.settings)
        self._offsets = GroupOffsets(self._folder.offsets)
        self._durability = Durability(self.settings.fsync)
        self._retention = Retention(self._topics, self._offsets, self.settings)
        self._arrivals = Arrivals()
        self._coordinator = GroupCoordinator(self.settings)
        self._handlers = self._routes()
        self._listener: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._watchers: list[asyncio.Task[None]] = []
        self._failed: asyncio.Future[None] | None = None

    def _routes(self) -> dict[int, Handler]:
        folder, topics, settings = self._folder, self._topics, self.settings
        ids = ProducerIds(folder.producer_ids)
        retention = self._retention
        apis = (
            ProduceApi(folder, topics, ids, self._durability, self._arrivals, retention, settings),
            FetchApi(topics, self._arrivals, settings),
            GroupApi(self._coordinator, settings),
            OffsetsApi(folder, topics, self._offsets, self._coordinator, settings),
            GroupAdminApi(self._offsets, self._coordinator),
            ClusterApi(folder, topics, settings),
            RecordsApi(folder, topics, retention),
            TopicsApi(folder, topics, self._offsets, self._arrivals, settings),
        )
        return {key: handler for api in apis for key, handler in api.routes().items()}

    @property
    def bootstrap_servers(self) -> str:
        """What clients connect to, as host:port."""
        return f"{self._advertised_host(self.host)}:{self._advertised_port}"

    @property
    def folder(self) -> Path:
        """Where its data is."""
        return self._folder.path

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    @property
    def topics(self) -> list[Topic]:
        """The topics as of now; from any thread."""
        return self._topics.all()

    @property
    def unlanded(self) -> Mapping[str, int]:
        """Records that were deleted before they had landed, by topic, since the start."""
        return self._retention.unlanded

    @property
    def cluster_id(self) -> str:
        """The identity of this data folder; a wiped one gets another."""
        return self._folder.cluster_id

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Recover what is on disk and listen."""
        try:
            self._folder.open()
            losses = self._folder.losses + self._topics.open()
            if losses:
                self._folder.renew_identity(losses)
            self._offsets.open()
            self._offsets.keep_within(self._topics.ends())
        except OSError as error:
            self._close_files()
            raise BrokerStartError(
                f"the broker can't use its data folder {self._folder.path}: {error}",
                remedy="check that it is on a disk with space and may be written to",
            ) from error
        self._failed = asyncio.get_running_loop().create_future()
        try:
            self._listener = await asyncio.start_server(
                self._connected, self.host, self.port, limit=_STREAM_LIMIT_BYTES
            )
        except OSError as error:
            self._close_files()
            raise BrokerStartError(
                f"the broker can't listen on {self.host}:{self.port}: {error.strerror}",
                remedy="stop what listens there, or give another port (0 takes a free one)",
            ) from error
        self.port = self._listener.sockets[0].getsockname()[1]
        self._watchers = [
            asyncio.create_task(self._watch_folder()),
            asyncio.create_task(self._forget_now_and_then()),
            asyncio.create_task(self._keep_retention()),
        ]
        _log.info(
            "broker ready",
            bootstrap_servers=self.bootstrap_servers,
            folder=str(self._folder.path),
            cluster_id=self.cluster_id,
        )

    async def wait_failed(self) -> None:
        """Wait until the broker can't go on, and raise why: DataFolderLostError."""
        assert self._failed is not None, "the broker was not started"
        await asyncio.shield(self._failed)

    async def stop(self) -> None:
        """Stop listening, hang up, and bring everything to the disk."""
        if self._listener is not None:
            self._listener.close()
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        self._coordinator.close()
        await self._durability.close()
        if self._failed is not None:
            self._failed.cancel()
        self._close_files()
        _log.info("broker stopped", folder=str(self._folder.path))

    def _close_files(self) -> None:
        self._topics.close()
        self._offsets.close()
        self._folder.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            peer, here = writer.get_extra_info("peername"), writer.get_extra_info("sockname")
            call = Call(-1, "", peer[0], self._advertised_host(here[0]), self._advertised_port)
            limit = self.settings.max_request_bytes
            await Connection(reader, writer, self._handlers, call, limit, self.requests).serve()
        except ProtocolError as error:
            _log.warning("connection closed", peer=peer[0], reason=str(error))
        except asyncio.CancelledError:
            pass  # the broker stops; asyncio's streams would report it as an error
        except DataFolderLostError as error:
            self._fail(error)
        except Exception:  # noqa: BLE001 (a connection's outermost loop: no bug goes unseen)
            _log.exception("connection failed", peer=peer[0])
        finally:
            self._connections.discard(task)
            writer.close()

    async def _watch_folder(self) -> None:
        try:
            while True:
                await asyncio.sleep(self.settings.folder_check_seconds)
                self._folder.check_in_place()
                self._topics.check_in_place()
        except DataFolderLostError as error:
            self._fail(error)

    async def _forget_now_and_then(self) -> None:
        """Each session of a producer and each name of a group leaves something behind in memory."""
        while True:
            await asyncio.sleep(self.settings.upkeep_seconds)
            self._topics.forget_producers(time.time() - self.settings.producer_expiry_seconds)
            self._coordinator.forget_idle(self._offsets.groups)

    async def _keep_retention(self) -> None:
        try:
            while True:
                await asyncio.sleep(self.settings.retention_check_seconds)
                self._folder.check_in_place()
                self._retention.enforce(time.time())
        except DataFolderLostError as error:
            self._fail(error)

    def _fail(self, error: DataFolderLostError) -> None:
        """Stop serving at once: no answer is better than one that acknowledges what is lost."""
        assert self._failed is not None
        if not self._failed.done():
            _log.error("broker can't go on", reason=str(error))
            self._failed.set_exception(error)
            self._failed.exception()  # not everybody waits for it
        if self._listener is not None:
            self._listener.close()
        for task in self._connections:
            task.cancel()

    def _advertised_host(self, reached_at: str) -> str:
        if self.settings.advertised_host is not None:
            return self.settings.advertised_host
        return reached_at if self.host in _ANY_HOST else self.host

    @property
    def _advertised_port(self) -> int:
        return self.settings.advertised_port or self.port
