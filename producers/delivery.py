"""Deliveries: what the ledger and the spool say of each thing that arrived."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
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
    """A file as it stood when it was taken: unchanged, it is not looked at again."""

    path: str
    inode: int
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Identity:
    """What a delivery is, from its receipt on; lies beside its bytes in the spool.

    `replaces`: the delivery that has to be out of the lake before the first record of this one is
    sent: the same bytes read in another way, or the beginning of the same file. `again_of`: the
    first delivery of these bytes, where they are taken again: it came when that one did.
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
    `replaces`, `again_of`: as in its identity.
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
