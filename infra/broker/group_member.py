"""The words between a consumer group and whoever asks it: requests, answers, members."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from kio.schema.errors import ErrorCode

if TYPE_CHECKING:
    pass


class GroupState(StrEnum):
    """Where a group stands; the values are Kafka's names."""

    EMPTY = "Empty"
    PREPARING = "PreparingRebalance"
    COMPLETING = "CompletingRebalance"
    STABLE = "Stable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """A member's wish to be in the group. Protocols are (name, metadata), preferred first."""

    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    session_timeout: float
    rebalance_timeout: float
    protocol_type: str
    protocols: tuple[tuple[str, bytes], ...]
    needs_known_id: bool
    """Whether a member without an id is sent away to come back with one (JoinGroup v4 on)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """Answer to Join. Only the leader gets `members` (id, instance id, metadata)."""

    error: ErrorCode = ErrorCode.none
    generation: int = -1
    protocol_type: str | None = None
    protocol: str | None = None
    leader: str = ""
    member_id: str = ""
    members: tuple[tuple[str, str | None, bytes], ...] = ()
    skip_assignment: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """Answer to Sync: the member's share."""

    error: ErrorCode = ErrorCode.none
    protocol_type: str | None = None
    protocol: str | None = None
    assignment: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a parked or just arrived request is told."""

    ticket: int
    result: Joined | Synced


@dataclass(slots=True)
class Member:
    """One consumer of the group."""

    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    session_timeout: float
    rebalance_timeout: float
    protocols: tuple[tuple[str, bytes], ...]
    expires_at: float
    assignment: bytes = b""
    join_ticket: int | None = None
    sync_ticket: int | None = None

    @property
    def is_parked(self) -> bool:
        """Whether it waits for our answer, and so can't send heartbeats."""
        return self.join_ticket is not None or self.sync_ticket is not None

    def metadata(self, protocol: str) -> bytes:
        """What it said about itself under that protocol."""
        return dict(self.protocols)[protocol]
