"""What is told to the ledger: what arrived, and how far the broker has it."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.producers.delivery import Identity


@dataclass(frozen=True, slots=True)
class Receipt:
    """A delivery on its way into the ledger; `duplicate_of` names the one that it repeats.

    `reason`: why it is one, where its content alone does not say so; or why it is rejected, with
    the config of the fingerprint `rejected_with`. `note`: what a person should know of one that
    goes on.
    """

    identity: Identity
    duplicate_of: str | None = None
    reason: str | None = None
    note: str | None = None
    rejected_with: str | None = None

    @property
    def goes_on(self) -> bool:
        """Whether it is to be published."""
        return self.duplicate_of is None and self.rejected_with is None


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """How far the broker has a delivery: the next record's number, the last one's offset.

    `unreadable`: how many of the acknowledged were unreadable. `republished`: how often it had been
    published again when this was sent; it says nothing of a later time.
    """

    delivery_id: str
    next_record: int
    unreadable: int
    last_offset: int | None
    republished: int = 0
