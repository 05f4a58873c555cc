"""The broker's data folder: whose it is, which format it has, and whether it is still there.

```
meta.json        format version and cluster id
broker.lock      held by the process that serves the folder
broker.pid       that process, for the message to the second one
topics/          one folder a topic
offsets.log      what groups have committed
producer-ids     the end of the block of producer ids handed out
```
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self
from uuid import uuid4

import structlog
from filelock import FileLock, Timeout

from headrace.durable import sync_folder
from headrace.infra.broker.durable import write_durably
from headrace.infra.broker.errors import (
    BrokerAlreadyRunningError,
    BrokerFormatError,
    DataFolderLostError,
)

if TYPE_CHECKING:
    from pathlib import Path

_log = structlog.get_logger("broker")
FORMAT_VERSION: Final = 1
_CONTENTS: Final = ("topics", "offsets.log", "producer-ids")


class DataFolder:
    """A locked data folder. `open` creates what is missing; `close` releases it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cluster_id = ""
        self._lock = FileLock(path / "broker.lock", timeout=0)
        self._meta_inode = -1
        self.losses: list[str] = []
        """What `open` found missing that a cluster of this identity has had."""

    @property
    def topics(self) -> Path:
        """Where the topics' folders lie."""
        return self.path / "topics"

    @property
    def offsets(self) -> Path:
        """The file of committed group offsets."""
        return self.path / "offsets.log"

    @property
    def producer_ids(self) -> Path:
        """The file that says which producer ids were handed out."""
        return self.path / "producer-ids"

    @property
    def _meta(self) -> Path:
        return self.path / "meta.json"

    @property
    def _pid(self) -> Path:
        return self.path / "broker.pid"

    def open(self) -> Self:
        """Lock the folder and read or make its identity.

        Raises BrokerAlreadyRunningError and BrokerFormatError.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout as error:
            raise BrokerAlreadyRunningError(
                f"{self.path} is served by another broker (pid {self._other_pid()})",
                remedy="use that one, or stop it first",
            ) from error
        try:
            self._pid.write_text(f"{os.getpid()}\n")
            known = self._read_identity()
            if known is None:
                self._set_remains_aside()
                self._write_identity()
            else:
                self.cluster_id = known
                if not self.topics.is_dir():
                    self.losses.append(f"{self.topics} is gone")
            self._meta_inode = self._meta.stat().st_ino
            self.topics.mkdir(exist_ok=True)
            sync_folder(self.path)
        except BaseException:
            self._lock.release()
            raise
        return self

    def renew_identity(self, losses: list[str]) -> None:
        """Become another cluster, because acknowledged records are gone: those who compare the
        cluster id with the one they knew then look again at what they published."""
        for loss in losses:
            _log.error("acknowledged records are gone", found=loss)
        self._write_identity()
        self._meta_inode = self._meta.stat().st_ino

    def close(self) -> None:
        """Release the lock; other processes may serve the folder from now on."""
        if self._is_ours():
            self._pid.unlink(missing_ok=True)
        self._lock.release()

    def check_in_place(self) -> None:
        """Raise DataFolderLostError unless the folder is the one that was opened."""
        if not self._is_ours():
            raise DataFolderLostError(
                f"the data folder {self.path} was removed or replaced while the broker ran",
                remedy="start the broker again: it begins empty, as a new cluster, and what it "
                "held is published again",
            )

    def _is_ours(self) -> bool:
        try:
            found = os.stat(self._meta).st_ino  # noqa: PTH116 (on the produce path)
        except OSError:
            return False
        return found == self._meta_inode

    def _other_pid(self) -> str:
        with suppress(OSError):
            return self._pid.read_text().strip() or "unknown"
        return "unknown"

    def _read_identity(self) -> str | None:
        try:
            found = json.loads(self._meta.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise BrokerFormatError(
                f"{self._meta} is not JSON ({error})",
                remedy=f"restore it, or remove {self.path} to begin with an empty broker",
            ) from error
        version = found.get("format_version") if isinstance(found, dict) else None
        if version != FORMAT_VERSION:
            raise BrokerFormatError(
                f"{self.path} has format version {version!r}, this headrace reads {FORMAT_VERSION}",
                remedy="use the headrace that wrote it",
            )
        cluster_id = found.get("cluster_id")
        if not isinstance(cluster_id, str) or not cluster_id:
            raise BrokerFormatError(
                f"{self._meta} has no cluster_id",
                remedy=f"restore it, or remove {self.path} to begin with an empty broker",
            )
        return cluster_id

    def _write_identity(self) -> None:
        self.cluster_id = uuid4().hex
        meta = {"format_version": FORMAT_VERSION, "cluster_id": self.cluster_id}
        write_durably(self._meta, json.dumps(meta).encode() + b"\n")
        _log.info("new cluster", folder=str(self.path), cluster_id=self.cluster_id)

    def _set_remains_aside(self) -> None:
        """Move what an interrupted removal left behind out of the new cluster's way."""
        remains = [self.path / name for name in _CONTENTS if (self.path / name).exists()]
        if not remains:
            return
        aside = self.path / f"remains-{int(time.time())}-{os.getpid()}"
        aside.mkdir()
        for path in remains:
            path.rename(aside / path.name)
        _log.error("data without meta.json set aside", folder=str(self.path), aside=aside.name)
