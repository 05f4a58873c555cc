"""The topics of a broker: their names, ids and logs, and how they come and go on disk.

A topic's folder is made under a passing name and renamed when it is whole, and renamed away before
it is removed; so at any moment a topic is there or it is not.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid4

import structlog
from kio.schema.errors import ErrorCode

from headrace.durable import sync_folder
from headrace.infra.broker.durable import write_durably
from headrace.infra.broker.errors import RequestRefusedError
from headrace.infra.broker.log import PartitionLog
from headrace.infra.broker.log_start import write_start
from headrace.infra.broker.segment import segment_name
from headrace.infra.broker.topic_rules import Keep

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from headrace.infra.broker.settings import BrokerSettings
    from headrace.infra.broker.topic_rules import TopicConfigs

_log = structlog.get_logger("broker")
_LEGAL_NAME: Final = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_NEW: Final = ".new-"
_GONE: Final = ".gone-"
_ASIDE: Final = ".aside-"
_NAME_IN_FOLDER: Final = 100
_DESCRIPTION: Final = "topic.json"


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic and its logs, one for each topic partition, in order."""

    name: str
    topic_id: UUID
    folder: Path
    configs: TopicConfigs
    keep: Keep
    logs: tuple[PartitionLog, ...]


class Topics:
    """All topics, by name. Opened once, owned by one event loop."""

    def __init__(self, folder: Path, settings: BrokerSettings) -> None:
        self._folder = folder
        self._settings = settings
        self._topics: dict[str, Topic] = {}

    def __iter__(self) -> Iterator[Topic]:
        return iter(self._topics.values())

    def all(self) -> list[Topic]:
        """The topics as of now; may be asked for by a thread that does not own them."""
        return list(self._topics.values())  # one step of the interpreter

    def open(self) -> list[str]:
        """Open every topic's logs; finish creations and removals that a crash cut short.

        Returns what was lost in ways no crash explains: somebody removed files.
        """
        losses: list[str] = []
        for folder in sorted(self._folder.iterdir()):
            if folder.name.startswith((_NEW, _GONE)):
                shutil.rmtree(folder)
            elif folder.is_dir() and not folder.name.startswith(_ASIDE):
                losses += self._open_topic(folder)
        return losses

    def close(self) -> None:
        """Flush and close every log."""
        for topic in self:
            for log in topic.logs:
                try:
                    log.sync_job()()
                except OSError as error:
                    _log.error("log not flushed", folder=str(log.folder), reason=str(error))
                log.close()

    def get(self, name: str) -> Topic | None:
        """The topic of that name."""
        return self._topics.get(name)

    def by_id(self, topic_id: UUID) -> Topic | None:
        """The topic of that id."""
        return next((topic for topic in self if topic.topic_id == topic_id), None)

    def log(self, name: str, partition: int) -> PartitionLog:
        """One topic partition's log. Raises RequestRefusedError (3) when there is none."""
        topic = self._topics.get(name)
        if topic is None or not 0 <= partition < len(topic.logs):
            raise RequestRefusedError(
                ErrorCode.unknown_topic_or_partition, f"there is no {name}-{partition}"
            )
        return topic.logs[partition]

    def ends(self) -> dict[tuple[str, int], int]:
        """The offset after the last record of each topic partition."""
        return {
            (topic.name, partition): log.next_offset
            for topic in self
            for partition, log in enumerate(topic.logs)
        }

    def check_new(self, name: str, partitions: int) -> int:
        """The number of topic partitions a new topic would get; -1 asks for the default.

        Raises RequestRefusedError: 36 exists, 17 illegal name, 37 bad number of partitions.
        """
        if name in self._topics:
            raise RequestRefusedError(ErrorCode.topic_already_exists, f"topic {name} exists")
        if not _LEGAL_NAME.fullmatch(name) or name in {".", ".."}:
            raise RequestRefusedError(
                ErrorCode.invalid_topic_exception,
                f"{name!r} is no topic name: expected up to 249 of a-z A-Z 0-9 . _ -",
            )
        if partitions == -1:
            return self._settings.default_partitions
        most = self._settings.max_partitions_per_topic
        if not 1 <= partitions <= most:
            raise RequestRefusedError(
                ErrorCode.invalid_partitions, f"{partitions} partitions found, 1 to {most} expected"
            )
        return partitions

    def create(
        self, name: str, partitions: int, configs: TopicConfigs = MappingProxyType({})
    ) -> Topic:
        """Make a topic, on disk before this returns; `configs` are its own.

        Raises RequestRefusedError as `check_new`, and 56.
        """
        count = self.check_new(name, partitions)
        topic_id = uuid4()
        fresh = self._folder / f"{_NEW}{topic_id.hex}"
        try:
            fresh.mkdir()
            for partition in range(count):
                (fresh / str(partition)).mkdir()
                (fresh / str(partition) / segment_name(0)).touch()
                write_start(fresh / str(partition), 0)
            description = {
                "name": name,
                "topic_id": topic_id.hex,
                "partitions": count,
                "configs": dict(configs),
            }
            write_durably(fresh / _DESCRIPTION, json.dumps(description).encode() + b"\n")
            folder = self._folder / f"{topic_id.hex[:8]}-{name[:_NAME_IN_FOLDER]}"
            fresh.rename(folder)
            sync_folder(self._folder)
            self._open_topic(folder)
        except OSError as error:
            shutil.rmtree(fresh, ignore_errors=True)
            raise RequestRefusedError(ErrorCode.kafka_storage_error, str(error)) from error
        _log.info("topic created", topic=name, partitions=count, topic_id=topic_id.hex)
        return self._topics[name]

    def delete(self, name: str) -> Topic:
        """Remove a topic and its data. Raises RequestRefusedError (3, 56)."""
        topic = self._topics.get(name)
        if topic is None:
            raise RequestRefusedError(
                ErrorCode.unknown_topic_or_partition, f"there is no topic {name}"
            )
        gone = self._folder / f"{_GONE}{topic.topic_id.hex}"
        try:
            topic.folder.rename(gone)
            sync_folder(self._folder)
        except OSError as error:
            raise RequestRefusedError(ErrorCode.kafka_storage_error, str(error)) from error
        del self._topics[name]
        for log in topic.logs:
            log.close()
        shutil.rmtree(gone, ignore_errors=True)
        _log.info("topic deleted", topic=name, topic_id=topic.topic_id.hex)
        return topic

    def forget_producers(self, silent_since: float) -> None:
        """Drop the idempotent producers that sent nothing since then (wall clock, in seconds)."""
        for topic in self:
            for log in topic.logs:
                log.producers.forget_before(silent_since)

    def check_in_place(self) -> None:
        """Raise DataFolderLostError unless every log's files are where they were made."""
        for topic in self:
            for log in topic.logs:
                log.check_all_in_place()

    def _open_topic(self, folder: Path) -> list[str]:
        try:
            found = json.loads((folder / _DESCRIPTION).read_bytes())
            name, count = str(found["name"]), int(found["partitions"])
            topic_id = UUID(hex=found["topic_id"])
            configs = {str(key): str(value) for key, value in found.get("configs", {}).items()}
            keep = Keep.of(configs, self._settings)
        except (
            FileNotFoundError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            RequestRefusedError,
        ) as error:
            aside = folder.with_name(f"{_ASIDE}{folder.name}")
            folder.rename(aside)
            return [f"{folder} has no readable {_DESCRIPTION} ({error}), set aside as {aside.name}"]
        logs = []
        roll_seconds = keep.roll_seconds(self._settings.segment_seconds)
        for partition in range(count):
            (folder / str(partition)).mkdir(exist_ok=True)
            logs.append(PartitionLog(folder / str(partition), self._settings, roll_seconds))
        self._topics[name] = Topic(name, topic_id, folder, configs, keep, tuple(logs))
        return [loss for log in logs for loss in log.losses]
