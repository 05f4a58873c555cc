"""Writes one stream's bronze: generations and rows, each in one commit with its positions.

All of it blocks: the service calls it from one worker thread, so that heartbeats go on meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

import pyarrow as pa

from headrace.consumers.batch import Part, Selection, delivery_ids, select_new
from headrace.consumers.commit_report import latest_event_time
from headrace.consumers.landed import Landed
from headrace.consumers.restores import RestoreSearch
from headrace.errors import CommitRefusedError
from headrace.lakehouse.bronze import (
    BRONZE_SCHEMA,
    TopicPosition,
    create_bronze,
    offset_app,
    position_steps,
    read_position,
    restore_app,
)
from headrace.lakehouse.delta import Lake, LakeTable, Step
from headrace.lakehouse.revocations import REVOKED_APP, revoked_ids


@dataclass(frozen=True, slots=True)
class Move:
    """How a commit moves one topic partition's position (`before` None: its first sight)."""

    before: TopicPosition | None
    after: TopicPosition


class Standing(Enum):
    """Where a topic partition is found after a commit that failed."""

    DONE = "done"
    """The rows are in: it is where the commit would have moved it."""
    AT_START = "at start"
    """Nothing happened: the same rows may be written again."""
    MOVED = "moved"
    """Somebody else was there: drop the rows and seek again."""


def standing(move: Move, found: TopicPosition | None) -> Standing:
    """Compare what a commit was to do with what the refreshed table says."""
    if found == move.after:
        return Standing.DONE
    return Standing.AT_START if found == move.before else Standing.MOVED


class BronzeWriter:
    """One stream's bronze table, open for appending."""

    def __init__(self, lake: Lake, stream: str, topic: str) -> None:
        self._lake = lake
        self._stream = stream
        self._topic = topic
        self._table: LakeTable | None = None
        self._landed = Landed()
        self._restores = RestoreSearch()
        self._revoked: frozenset[str] = frozenset()
        self._revoked_at: int | None = None

    def open(self) -> None:
        """Load the table, made where there is none. Raises `LakeError`."""
        self._table = create_bronze(self._lake, self._stream)
        # After the table is there: a revocation that found none has left no mark on it.
        self._load_revoked(self._table)

    @property
    def version(self) -> int:
        """The table's version as of the last look or commit."""
        return self._opened().version

    def look(self, partitions: Collection[int]) -> dict[int, TopicPosition | None]:
        """Positions at the table's latest version; what is known of deliveries is asked anew."""
        self._landed.forget()
        return self.positions(partitions)

    def positions(self, partitions: Collection[int]) -> dict[int, TopicPosition | None]:
        """Positions at the table's latest version."""
        table = self._opened()
        with table.lock:
            table.refresh()
            return {p: read_position(table, self._topic, p) for p in partitions}

    def restored(self, partitions: Collection[int]) -> set[int]:
        """The topic partitions whose position is older than a RESTORE, at the handle's version.

        What they have read is not all in the table: it has to be read again.
        """
        table = self._opened()
        with table.lock:
            known = {
                p: table.position(restore_app(self._topic, p)) or 0
                for p in partitions
                if table.position(offset_app(self._topic, p)) is not None
            }
            if not known:
                return set()
            latest = self._restores.latest(table, min(known.values()))
            if self._restores.saw_deletes():
                self._landed.forget()
            return {p for p, version in known.items() if version < latest}

    def latest_event_time(self) -> datetime | None:
        """The latest event time in the table, as its files' statistics have it."""
        files = self._opened().files()
        if "max.event_time" not in files.column_names:
            return None
        return latest_event_time(files["max.event_time"], datetime.now(UTC))

    @property
    def has_unseen_commits(self) -> bool:
        """Whether the handle has moved over commits that no RESTORE was looked for in."""
        return self._restores.searched_to != self._opened().version

    def select(self, parts: Sequence[Part]) -> Selection:
        """The rows of a batch that bronze does not hold, sorted by date for few, whole files.

        Nor are those of revoked deliveries among them.
        """
        table = self._opened()
        if table.position(REVOKED_APP) != self._revoked_at:
            self._load_revoked(table)
        landed = self._landed.numbers(table, delivery_ids(parts))
        selection = select_new(parts, landed, datetime.now(UTC), self._revoked)
        return Selection(selection.table.sort_by("event_date"), selection.taken)

    def append(self, selection: Selection, moves: Mapping[int, Move]) -> int:
        """Commit rows with the positions they bring the table to; its new version is the answer.

        Raises `CommitRefusedError`, `CommitUnknownError` or `LakeError`: `look` after each.
        """
        table = self._opened()
        with table.lock:
            # The handle may have moved since the rows were selected. Past this line it does not:
            # a revocation that is marked from here on collides with the commit.
            if table.position(REVOKED_APP) != self._revoked_at:
                raise CommitRefusedError(
                    f"{table.name}: deliveries were revoked since the batch was selected"
                )
            # A RESTORE that is known and not followed yet must not count as followed.
            followed = moves.keys() - self.restored(moves)
            self._commit(selection.table.select(BRONZE_SCHEMA.names), moves, followed)
        self._landed.update(selection.taken)
        return table.version

    def open_generations(self, moves: Mapping[int, Move]) -> int:
        """Commit new generations, without rows; errors as of `append`."""
        table = self._opened()
        with table.lock:
            self._restores.latest(table, table.version)
            self._commit(BRONZE_SCHEMA.empty_table(), moves, moves.keys())
        if any(move.before is not None for move in moves.values()):
            self._landed.forget(wants_index=True)  # a new log brings old deliveries again
        return table.version

    def _commit(
        self, rows: pa.Table, moves: Mapping[int, Move], followed: AbstractSet[int]
    ) -> None:
        table = self._opened()
        before = table.version
        searched = self._restores.searched_to or 0
        steps = self._steps(moves)
        for p in followed:
            app = restore_app(self._topic, p)
            known = table.position(app)
            steps[app] = Step(known, max(searched, known or 0))
        table.commit(rows, steps)
        self._restores.committed(before, table.version)

    def _steps(self, moves: Mapping[int, Move]) -> dict[str, Step]:
        return {
            app: step
            for partition, move in moves.items()
            for app, step in position_steps(self._topic, partition, move.before, move.after).items()
        }

    def _load_revoked(self, table: LakeTable) -> None:
        # First the mark, then the rows, which are written before it: they are never older.
        self._revoked_at = table.position(REVOKED_APP)
        self._revoked = revoked_ids(self._lake, self._stream)

    def _opened(self) -> LakeTable:
        assert self._table is not None, "open() comes first"
        return self._table
