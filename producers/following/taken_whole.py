"""Logs that their source took whole before it followed them, found again by what was taken.

Each delivery of a whole file is what one log was once, from its beginning: the file that holds all
of it goes on behind that, under whatever name. It is a followed log from then on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

from headrace.producers.delivery import DeliveryRow, DeliveryState
from headrace.producers.following.log_files import FoundLog, WholeAgain
from headrace.producers.following.log_matching import EVIDENCE_BYTES, stem
from headrace.producers.following.log_position import (
    COMPARED_BYTES,
    EARLY_STEP_BYTES,
    LogPosition,
    beginning_of,
)
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.spool.spool import Spool


@dataclass(frozen=True, slots=True)
class _Claim:
    """A file that holds all of a delivery. The least of several is the likeliest."""

    log: FoundLog
    row: DeliveryRow
    is_other: bool
    is_same_file: bool

    @property
    def rank(self) -> tuple[bool, bool, bool, int]:
        return (
            self.is_other,
            not self.is_same_file,
            self.log.name != self.row.name,
            -self.row.size_bytes,
        )


class TakenWhole:
    """What one source took whole, as the ledger says when this is made."""

    def __init__(self, ledger: Ledger, spool: Spool, source_name: str) -> None:
        self._ledger = ledger
        self._spool = spool
        self._source_name = source_name
        rows = ledger.taken_whole(source_name)
        self._rows = {row.delivery_id: row for row in rows}
        replaced = {row.replaces for row in rows}
        # Of a file that was taken again as it grew, the last. A duplicate is no delivery: its lines
        # are those of its original, which one log is.
        self._last = [
            row
            for row in reversed(rows)
            if row.size_bytes > 0
            and row.state is not DeliveryState.DUPLICATE
            and row.delivery_id not in replaced
        ]

    def found_in(
        self,
        fresh: Sequence[FoundLog],
        others: Sequence[FoundLog],
        known: Sequence[LogPosition],
        there: Collection[int],
    ) -> list[LogPosition]:
        """The positions of logs that go on behind what was taken whole of them.

        `fresh`: files of no log that is `known`. `others`: files that no pattern wants, which may
        be what is left of a log that was rotated since it was taken last. `there`: the inodes of
        all files. Raises what reading a log does.
        """
        free = self._free(known)
        if not free or not (fresh or others):
            return []
        seen = self._seen()
        claims = [
            *self._claims(fresh, free, seen, there, are_others=False),
            *self._claims(others, self._left(free, seen), seen, there, are_others=True),
        ]
        inodes: set[int] = set()
        taken: dict[str, _Claim] = {}
        for claim in sorted(claims, key=lambda one: one.rank):
            if claim.log.inode not in inodes and claim.row.delivery_id not in taken:
                inodes.add(claim.log.inode)
                taken[claim.row.delivery_id] = claim
        numbers: defaultdict[str, int] = defaultdict(int)
        for position in known:
            numbers[position.name] = max(numbers[position.name], position.number)
        positions = []
        for _, claim in sorted(taken.items()):
            numbers[claim.row.name] += 1
            positions.append(_position(claim.log, claim.row, numbers[claim.row.name]))
        return positions

    def ended(self, log: FoundLog, position: LogPosition) -> tuple[LogPosition, WholeAgain | None]:
        """How a log goes on that was taken whole in the middle of a line.

        What ends the line is no record of its own. So the whole is taken once more with it, in the
        place of that delivery, as it would have been if the source did not follow it. Where that
        one was revoked nothing is in its place: the line is taken from its beginning.
        """
        row = self._ledger.find(position.whole or "")
        if row is None:
            return position, None
        rest = log.read(position.offset, position.offset + 2)
        for line_end in (b"\n", b"\r\n"):
            if rest.startswith(line_end):  # it was a whole line but for that
                behind = position.offset + len(line_end)
                return position.moved_to(behind, log.name, log.inode, log.read), None
        like = self._ledger.accepted_like(self._source_name, row.name, row.content_hash)
        same = [one for one in like if (one.name, one.content_hash) == (row.name, row.content_hash)]
        if same:
            replaces = max(same, key=attrgetter("order")).delivery_id
            return position, WholeAgain(row.name, row.identity_by, replaces)
        if row.state is DeliveryState.REJECTED:
            return position, WholeAgain(row.name, row.identity_by, None)
        return position.back_to(log.end_of_lines(0, position.offset), log.read), None

    def _free(self, known: Sequence[LogPosition]) -> list[DeliveryRow]:
        """The deliveries that are of no log yet, the latest first."""
        used = {position.whole for position in known if position.whole is not None}
        return [row for row in self._last if used.isdisjoint(self._versions(row))]

    def _versions(self, row: DeliveryRow | None) -> Iterator[str]:
        """A delivery and those whose place it took, one after the other."""
        while row is not None:
            yield row.arrival
            row = self._rows.get(row.replaces or "")

    def _seen(self) -> dict[str, set[int]]:
        """By delivery, the inodes of the files that are known as it under its own name."""
        seen: defaultdict[str, set[int]] = defaultdict(set)
        for origin, delivery_id in self._ledger.seen_files(self._source_name).values():
            row = self._rows.get(delivery_id)
            original = None if row is None else self._rows.get(row.duplicate_of or "", row)
            if row is not None and original is not None and original.name == row.name:
                seen[original.delivery_id].add(origin.inode)
        return seen

    def _left(self, free: Sequence[DeliveryRow], seen: dict[str, set[int]]) -> list[DeliveryRow]:
        """Those that were the last of their file: their rest may be where no pattern looks."""
        return [row for row in free if any(one in seen for one in self._versions(row))]

    def _claims(
        self,
        logs: Sequence[FoundLog],
        rows: Sequence[DeliveryRow],
        seen: dict[str, set[int]],
        there: Collection[int],
        *,
        are_others: bool,
    ) -> Iterator[_Claim]:
        by_content: defaultdict[tuple[int, str], list[DeliveryRow]] = defaultdict(list)
        for row in rows:
            by_content[row.size_bytes, row.content_hash].append(row)
        inodes = {inode for row in rows for inode in seen.get(row.delivery_id, ())}
        stems = tuple({stem(row.name) for row in rows})
        for log in logs:
            if are_others and log.inode not in inodes and not log.name.startswith(stems):
                continue
            if log.why_not_followed() is not None:
                continue
            for content in log.beginnings(size for size, _ in by_content).items():
                for row in by_content.get(content, ()):
                    of_row = {*seen.get(row.delivery_id, ()), *self._inode_of(row)}
                    # As a few bytes may be what every log of its kind begins with.
                    if not of_row.isdisjoint(there) or row.size_bytes >= EVIDENCE_BYTES:
                        yield _Claim(log, row, are_others, log.inode in of_row)

    def _inode_of(self, row: DeliveryRow) -> Iterator[int]:
        if self._spool.has(self._source_name, row.delivery_id):
            yield self._spool.entry(self._source_name, row.delivery_id).identity.origin.inode


def _position(log: FoundLog, row: DeliveryRow, number: int) -> LogPosition:
    """Where a log stands that was taken whole; a short copy of it is known as well."""
    position = beginning_of(row.name, number, log.name, log.inode)
    for offset in range(EARLY_STEP_BYTES, min(row.size_bytes, COMPARED_BYTES), EARLY_STEP_BYTES):
        position = position.moved_to(offset, log.name, log.inode, log.read)
    position = position.moved_to(row.size_bytes, log.name, log.inode, log.read)
    unfinished = log.read(row.size_bytes - 1, row.size_bytes) != b"\n"
    return replace(position, whole=row.arrival, unfinished=unfinished)
