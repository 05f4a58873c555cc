"""Settings of the embedded broker: one frozen value, each field with its unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerSettings:
    """How one broker stores, answers and limits.

    The defaults that a client can see (`max_message_bytes`, session time-outs) are Apache Kafka's,
    so that what passes on a laptop passes on a cluster.
    """

    advertised_host: str | None = None
    """Host that clients are told to connect to; by default the one the broker binds to."""

    advertised_port: int | None = None
    """Port that clients are told to connect to; by default the one the broker binds to."""

    default_partitions: int = 4
    """Topic partitions of a topic created without a number."""

    auto_create_topics: bool = True
    """Whether naming an unknown topic in a metadata request creates it."""

    max_message_bytes: int = 1_048_588
    """Largest record batch taken, in bytes, as compressed by the producer."""

    max_request_bytes: int = 32 * 1024 * 1024
    """Largest request frame read; a longer one closes the connection."""

    max_partitions_per_topic: int = 1_000
    """Most topic partitions a topic may be created with."""

    segment_bytes: int = 128 * 1024 * 1024
    """A log file that has reached this size is closed and a new one begun."""

    segment_seconds: float = 24 * 3600.0
    """So is one whose first record is older than this when the next is appended (or older than
    records are kept)."""

    index_interval_bytes: int = 16 * 1024
    """Bytes of log between two entries of the in-memory offset index."""

    fetch_response_bytes: int = 4 * 1024 * 1024
    """Most bytes of records in one fetch response (one whole batch is always answered)."""

    max_fetch_wait_seconds: float = 30.0
    """Longest a fetch waits for its minimum of bytes, whatever the client asks."""

    fsync: Literal["os", "group"] = "os"
    """When a write is acknowledged: once the operating system has it ("os", survives a crash of the
    process), or once it is on disk, one fsync shared by all that wait ("group")."""

    retention_seconds: float | None = 7 * 24 * 3600.0
    """Closed segments whose newest record is older are deleted; None keeps everything."""

    retention_bytes: int | None = None
    """Bytes to keep of each topic partition, by deleting its oldest closed segments; None keeps
    everything."""

    max_disk_bytes: int | None = None
    """Bytes that all logs together may take; over it the oldest closed segments are deleted that
    have landed. None sets no limit."""

    landing_patience_seconds: float = 60.0
    """While that is not enough, the topics to land take no records; once nothing has landed for so
    long, the oldest segments are deleted all the same."""

    landing_group: str | None = None
    """Consumer group whose committed offsets say what has landed."""

    landing_topics: frozenset[str] = frozenset()
    """Topics of which nothing expires before `landing_group` has committed it."""

    retention_check_seconds: float = 1.0
    """How often the broker looks for what is to be deleted."""

    producer_expiry_seconds: float = 7 * 24 * 3600.0
    """A producer that has sent nothing for so long is forgotten."""

    initial_rebalance_delay_seconds: float = 0.05
    """How long an empty group waits for more members before its first assignment."""

    min_session_timeout_seconds: float = 1.0
    """Shortest session time-out a group member may ask for."""

    max_session_timeout_seconds: float = 1_800.0
    """Longest session time-out a group member may ask for."""

    max_group_members: int = 1_000
    """Most members of one group."""

    max_offset_metadata_bytes: int = 4_096
    """Longest text a client may store beside a committed offset."""

    folder_check_seconds: float = 0.5
    """How often the broker looks whether its files are still where it made them."""

    upkeep_seconds: float = 3_600.0
    """How often producers that have expired and groups of no account are forgotten."""
