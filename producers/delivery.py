"""Deliveries: what the ledger and the spool say of each thing that arrived."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Final


class DeliveryState(StrEnum):
    """Where a delivery stands: `received -> publishing -> published -> landed`, or aside."""

    RECEIVED = "received"
    """Its bytes are in the spool."""
    PUBLISHING = "publishing"
    """How it is read is frozen; some of its records may be on the topic."""
    PUBLISHED = "published"
    """The broker has acknowledged all of its records."""
    LANDED = "landed"
    """Bronze holds all of its records."""
    REJECTED = "rejected"
    """It cannot be read as configured; tried again when the config changes."""
    DUPLICATE = "duplicate"
    """Its content was accepted before."""
    REVOKED = "revoked"
    """Taken back out by the user."""


class IdentityBy(StrEnum):
    """What tells a delivery from those its source brought before."""

    CONTENT = "content"
    """Its content, under whatever name; under its own only the latest counts."""
    NAME_AND_CONTENT = "name+content"
    """Its content, compared with the latest of its own name alone."""
    NAME = "name"
    """Its name: the sender's id of it. What is in it does not matter."""


ACCEPTED_STATES: Final = (
    DeliveryState.RECEIVED,
    DeliveryState.PUBLISHING,
    DeliveryState.PUBLISHED,
    DeliveryState.LANDED,
)
# The fingerprint of a delivery rejected halfway: it is not tried again by itself, and its content
# counts as accepted, as some of its records are published.
NEVER_RETRIED: Final = ""

OUTSTANDING_STATES: Final = (
    DeliveryState.RECEIVED,
    DeliveryState.PUBLISHING,
    DeliveryState.PUBLISHED,
)


@dataclass(frozen=True, slots=True)
class Origin:
    """A file as it stood when it was taken: unchanged, it is not looked at again.

    `path`: relative to the project, or an address; empty where it did not come as a file.
    """

    path: str
    inode: int
    size_bytes: int
    mtime_ns: int

    @property
    def stamp(self) -> tuple[int, int, int]:
        """Inode, size and time of its last change: the same as long as it is unchanged."""
        return self.inode, self.size_bytes, self.mtime_ns

    def is_unchanged(self, stat: os.stat_result) -> bool:
        """Whether what stands there now is the file as it was taken."""
        return (stat.st_ino, stat.st_size, stat.st_mtime_ns) == self.stamp


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a source has been read, as whoever reads it writes that down under a `key`.

    It moves in the transaction that records a delivery, and lies in the spool with that as well.
    """

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Exchange:
    """The HTTP request a delivery came by, or that it is the answer to; without secrets.

    `status`: of an answer; None for a request made to us.
    """

    method: str
    url: str
    status: int | None
    headers: tuple[tuple[str, str], ...]
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Identity:
    """What a delivery is, from its receipt on; lies beside its bytes in the spool.

    `replaces`: the delivery that has to be out of the lake before the first record of this one is
    sent: the same bytes read in another way, or the beginning of the same file. `again_of`: the
    first delivery of these bytes, where they are taken again: it came when that one did. `member`:
    it was taken out of the archive that `origin` is. `cursors`: how far its source was read with
    it. `own_size`: of its bytes, where `origin` does not say that.
    """

    delivery_id: str
    source: str
    stream: str
    name: str
    content_hash: str
    received_at: datetime
    origin: Origin
    replaces: str | None = None
    again_of: str | None = None
    identity_by: IdentityBy = IdentityBy.CONTENT
    member: bool = False
    cursors: tuple[Cursor, ...] = ()
    own_size: int | None = None

    @property
    def size_bytes(self) -> int:
        """Of its bytes in the spool."""
        return self.origin.size_bytes if self.own_size is None else self.own_size


@dataclass(frozen=True, slots=True)
class FrozenReading:
    """How a delivery is read and where it goes, fixed before its first record is sent.

    `reading`: `Reading` of `headrace.producers.files` as JSON text. `stream`: None where it is that
    of its identity.
    """

    reading: str
    topic_partition: int
    stream: str | None = None


@dataclass(frozen=True, slots=True)
class RecordCount:
    """How many records a delivery has, and how many of them could not be read."""

    records: int
    unreadable: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """Why a delivery was rejected, and the fingerprint of the config that it was read with."""

    reason: str
    config_fingerprint: str

    @property
    def halfway(self) -> bool:
        """Whether some of its records are published: how it was read still counts."""
        return self.config_fingerprint == NEVER_RETRIED


@dataclass(frozen=True, slots=True)
class BronzeVersion:
    """A bronze table, and a version of it that is not older than what it is named for."""

    table_id: str
    version: int


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One row of the ledger.

    `records`: None until the delivery was read to its end. `unreadable_records`: among the
    acknowledged.
    `acknowledged`: the number of the next record that the broker has not acknowledged.
    `last_offset`: the offset of the last acknowledged record in the delivery's topic partition.
    `reason`: why it is rejected, or why a frozen one could not be published when last tried.
    `bronze_id`, `bronze_version`: the bronze table it landed in, and a version that holds it.
    `config_fingerprint`: of the config a rejected delivery was read with.
    `replaces`, `again_of`, `identity_by`, `member`: as in its identity.
    `taken_out_at`: since when the lake holds nothing of a revoked delivery; None: not yet.
    """

    delivery_id: str
    source: str
    stream: str
    name: str
    path: str
    content_hash: str
    size_bytes: int
    received_at: datetime
    state: DeliveryState
    reason: str | None
    duplicate_of: str | None
    config_fingerprint: str | None
    reading: str | None
    topic_partition: int | None
    records: int | None
    unreadable_records: int | None
    acknowledged: int
    last_offset: int | None
    republished: int
    bronze_id: str | None
    bronze_version: int | None
    landed_at: datetime | None
    replaces: str | None
    again_of: str | None
    taken_out_at: datetime | None
    identity_by: IdentityBy
    member: bool

    def origin_in(self, root: Path) -> Path | None:
        """The file of the project at `root` that its bytes are of; None where there is none."""
        if self.member or not self.path or "://" in self.path:
            return None
        return root / self.path

    @property
    def frozen(self) -> FrozenReading | None:
        """How it is read; None before that was decided."""
        if self.reading is None or self.topic_partition is None:
            return None
        return FrozenReading(self.reading, self.topic_partition, self.stream)

    @property
    def arrival(self) -> str:
        """Orders deliveries by when their bytes came."""
        return self.again_of or self.delivery_id

    @property
    def order(self) -> tuple[str, str]:
        """The same, and bytes that were taken again behind what they were taken of."""
        return self.arrival, self.delivery_id
