"""What a producer says of its work: while it goes on, and at its end."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.producers.delivery import DeliveryRow


@dataclass(frozen=True, slots=True)
class ProduceProgress:
    """How far a run is. Done: published, or turned out to be unreadable.

    `records_total`: records sent so far, and so to be expected in bronze. `requests_total`: of
    sources that are polled, one for each window of time and value of a variable. `waits`: what
    polls wait for, in words.
    """

    deliveries_total: int = 0
    deliveries_done: int = 0
    deliveries_landed: int = 0
    records_total: int = 0
    requests_total: int = 0
    requests_done: int = 0
    waits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LeftFile:
    """A file that was not taken in, and why; it is looked at again the next time."""

    source: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class ProduceSummary:
    """What a run did. `records` were sent by this run, `unreadable_records` among them.

    `rejections`: every delivery that stands rejected while its file still lies there, whichever
    run rejected it, or that this run has rejected. `failures`: deliveries that could not be
    published now, though some or all of their records may have been before; each has its reason.
    `notes`: what a person should know of deliveries that went in. `unreachable`: sources that could
    not be asked for what they have, each with why.
    """

    received: int
    duplicates: int
    published: int
    landed: int
    records: int
    unreadable_records: int
    rejections: tuple[DeliveryRow, ...]
    failures: tuple[DeliveryRow, ...]
    left: tuple[LeftFile, ...]
    notes: tuple[str, ...]
    seconds: float
    unreachable: tuple[str, ...] = ()

    @property
    def rejected(self) -> int:
        """How many deliveries stand rejected."""
        return len(self.rejections)

    def notices(self) -> list[str]:
        """What a person should read, a line each."""
        notices = [f"{row.name}: rejected: {row.reason}" for row in self.rejections]
        notices += [f"{row.name}: not published: {row.reason}" for row in self.failures]
        notices += [
            f"{left.source}: {left.name}: left for the next run: {left.reason}"
            for left in self.left
        ]
        return [*self.unreachable, *notices, *self.notes]

    def figures(self) -> dict[str, int]:
        """The numbers, by name, for whoever runs the producer as a process."""
        return {
            "received": self.received,
            "duplicates": self.duplicates,
            "published": self.published,
            "landed": self.landed,
            "rejected": self.rejected,
            "failed": len(self.failures),
            "records": self.records,
            "unreadable_records": self.unreadable_records,
            "left": len(self.left),
            "unreachable": len(self.unreachable),
        }
