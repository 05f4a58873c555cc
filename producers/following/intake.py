"""Appended logs into the spool and the ledger: only their new complete lines, a piece a delivery.

A log's position is a cursor of the ledger that moves in the transaction which records the piece,
and lies in the spool with it. So a crash neither skips a line nor doubles one, and a ledger that is
built again from the spool goes on where the lost one stood.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from headrace.config_files import FileSource
from headrace.producers.delivery import Cursor, DeliveryRow, DeliveryState, IdentityBy
from headrace.producers.folders.intake import Intake, Look, Taken
from headrace.producers.folders.scan import FileStat, WantedNames, is_settled
from headrace.producers.folders.watched_folder import WatchedFolder, as_text
from headrace.producers.following.log_files import FoundLog, Piece, UnreadableLogError
from headrace.producers.following.log_matching import Matched, is_rotated, match_logs
from headrace.producers.following.log_position import KEY_PREFIX, LogPosition, beginning_of
from headrace.producers.following.taken_whole import TakenWhole
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.ledger.receipt import Receipt
from headrace.producers.receiving import Arrived, Receiving
from headrace.producers.spool.spool import Draft, FileChangedError, Spool

# A backlog is taken in so many bytes at a time.
PIECE_BYTES: Final = 64_000_000
# Of logs that are gone, of each name: a file that is put back is known as long.
_KEPT_POSITIONS: Final = 100


class FollowIntake(Intake):
    """Takes the new lines of followed files in. What is ready for it are pieces, by their names.

    Whatever files a look is asked for, it is at the whole folder: which log a file is of depends on
    the others.
    """

    def __init__(self, root: Path, ledger: Ledger, spool: Spool, receiving: Receiving) -> None:
        super().__init__(root, ledger, spool, receiving)
        self._receiving = receiving
        # By source, of which only one is looked at or taken at a time, each in a thread.
        self._logs: dict[str, dict[str, FoundLog]] = {}
        self._positions: dict[str, dict[str, tuple[str, LogPosition]]] = {}
        self._pieces: dict[str, dict[str, Piece]] = {}
        self._whole: dict[str, TakenWhole] = {}

    def looks(
        self,
        source_name: str,
        source: FileSource,
        now_ns: int,
        only: Collection[str] | None = None,
        complete: Collection[str] = (),
    ) -> Iterator[Look]:
        """Look again as long as there were more lines than one delivery takes."""
        while True:
            yield self.look(source_name, source, now_ns, only, complete)
            pieces = self._pieces[source_name].values()
            if not any(piece.more and piece.after is not None for piece in pieces):
                return

    def look(
        self,
        source_name: str,
        source: FileSource,
        now_ns: int,
        only: Collection[str] | None = None,  # noqa: ARG002
        complete: Collection[str] = (),  # noqa: ARG002
    ) -> Look:
        """See which logs have new lines: `ready` are their next pieces, each under its own name.

        `young`: files whose last line has no end, and may get one; files that moved while they were
        looked at. Raises `FolderAbsentError` where there is no folder.
        """
        folder = WatchedFolder(self._root, source_name, source)
        self._pieces[source_name] = {}
        found = folder.survey(WantedNames.of(source), others=True)
        unreadable = list(found.unreadable)
        logs = self._found(source_name, (*found.files, *found.others))
        wanted = {stat.name for stat in found.files}
        while True:
            try:
                matched = self._matched(source_name, logs, wanted)
                pieces, young, left = self._pieces_of(source_name, source, logs, matched, now_ns)
                self._forget_long_gone(source_name, matched)
            except UnreadableLogError as error:
                logs = [log for log in logs if log is not error.log]
                if error.log.stat.name in wanted:
                    unreadable.append((error.log.name, str(error)))
            except FileChangedError:
                # Rotated while it was looked at: what is what, the next look will see.
                young = list(found.files)
                return Look((), tuple(young), (), tuple(unreadable))
            else:
                break
        self._pieces[source_name] = {piece.name: piece for piece in pieces}
        return Look(
            tuple(replace(piece.log.stat, name=piece.name) for piece in pieces),
            tuple(young),
            self._rejected(source_name, {log.name for log in logs}),
            (*unreadable, *left),
        )

    def take(self, source_name: str, source: FileSource, files: Sequence[FileStat]) -> Taken:
        """Copy pieces into the spool and write them down; all durable when this returns."""
        folder = WatchedFolder(self._root, source_name, source)
        arrived: list[Arrived] = []
        changed: list[FileStat] = []
        unreadable: list[tuple[FileStat, str]] = []
        for stat in files:
            piece = self._pieces[source_name][stat.name]
            try:
                draft = self._spool.draft_chunks(source_name, piece.chunks())
            except FileChangedError:
                changed.append(piece.log.stat)
            except UnreadableLogError as error:
                unreadable.append((piece.log.stat, str(error)))
            else:
                arrived.append(_arrived(folder, piece, draft))
        receipts: tuple[Receipt, ...] = ()
        if arrived:
            receipts = self._receiving.receive(source_name, source.stream, arrived)
        return Taken(receipts, tuple(changed), tuple(unreadable))

    def _found(self, source_name: str, stats: Sequence[FileStat]) -> list[FoundLog]:
        """The files; those that have not changed as they were, with what was read of them."""
        before = self._logs.get(source_name, {})
        now: dict[str, FoundLog] = {}
        for stat in stats:
            known = before.get(stat.name)
            if known is None or known.stat != stat:
                known = FoundLog(stat, as_text(stat.name))
            now[stat.name] = known
        self._logs[source_name] = now
        return list(now.values())

    def _known(self, source_name: str) -> list[LogPosition]:
        before = self._positions.get(source_name, {})
        now: dict[str, tuple[str, LogPosition]] = {}
        for key, value in self._ledger.cursors(source_name).items():
            if not key.startswith(KEY_PREFIX):
                continue  # of what the source was before
            known = before.get(key)
            if known is None or known[0] != value:
                known = (value, LogPosition.from_json(value))
            now[key] = known
        self._positions[source_name] = now
        return [position for _, position in now.values()]

    def _pieces_of(
        self,
        source_name: str,
        source: FileSource,
        logs: Sequence[FoundLog],
        matched: Matched[FoundLog],
        now_ns: int,
    ) -> tuple[list[Piece], list[FileStat], list[tuple[str, str]]]:
        """What is to be taken, what has yet to end, and what is not followed, with why."""
        numbers: dict[str, int] = {}
        for position in self._known(source_name):
            numbers[position.name] = max(numbers.get(position.name, 0), position.number)
        going_on = list(matched.going_on.values())
        left: list[tuple[str, str]] = []
        for log in matched.fresh:
            why = log.why_not_followed()
            if why is not None:
                left.append((log.name, why))
                continue
            # Of two names that differ in bytes that are no text, the text is the same.
            number = numbers[log.name] = numbers.get(log.name, 0) + 1
            start = beginning_of(log.name, number, log.name, log.inode)
            going_on.append((log, start))
        pieces: list[Piece] = []
        young: list[FileStat] = []
        inodes = {log.name: log.inode for log in logs}
        for log, known in going_on:
            position, whole = known, None
            if known.unfinished:
                position, whole = self._whole[source_name].ended(log, known)
            piece = _piece(source, log, position, to_its_end=False)
            stop = position.offset if piece is None else piece.stop
            unfinished = stop < log.size and not (piece is not None and piece.more)
            if unfinished and is_rotated(log, position, inodes):
                if is_settled(log.stat, now_ns, source.settle):
                    piece = _piece(source, log, position, to_its_end=True)
                else:
                    young.append(log.stat)
            if piece is not None:
                piece.whole = whole
                pieces.append(piece)
        return pieces, young, left

    def _matched(
        self, source_name: str, logs: Sequence[FoundLog], wanted: Collection[str]
    ) -> Matched[FoundLog]:
        """What the files are; those that were taken whole are followed logs from now on."""
        files = [log for log in logs if log.stat.name in wanted]
        others = [log for log in logs if log.stat.name not in wanted]
        known = self._known(source_name)
        matched = match_logs(files, others, known)
        whole = self._whole.get(source_name)
        if whole is None:
            whole = self._whole[source_name] = TakenWhole(self._ledger, self._spool, source_name)
        followed = {id(log) for log, _ in matched.going_on.values()}
        found = whole.found_in(
            matched.fresh,
            [log for log in others if id(log) not in followed],
            known,
            {log.inode for log in logs},
        )
        if not found:
            return matched
        cursors = [Cursor(position.key, position.to_json()) for position in found]
        self._ledger.set_cursors(source_name, cursors)
        return match_logs(files, others, self._known(source_name))

    def _forget_long_gone(self, source_name: str, matched: Matched[FoundLog]) -> None:
        """Positions are kept of what is there and of the last logs of a name, not for ever."""
        known = self._known(source_name)
        if len(known) <= _KEPT_POSITIONS:
            return
        latest: dict[str, int] = {}
        for position in known:
            latest[position.name] = max(latest.get(position.name, 0), position.number)
        gone = [
            position.key
            for position in known
            if position.key not in matched.going_on
            and position.number <= latest[position.name] - _KEPT_POSITIONS
        ]
        if gone:
            self._ledger.drop_cursors(source_name, gone)

    def _rejected(self, source_name: str, there: Collection[str]) -> tuple[DeliveryRow, ...]:
        """The rejected pieces of files that still lie there."""
        rows = self._ledger.deliveries((DeliveryState.REJECTED,), source_name)
        return tuple(row for row in rows if row.name.rpartition("@")[0] in there)


def _piece(
    source: FileSource, log: FoundLog, position: LogPosition, *, to_its_end: bool
) -> Piece | None:
    """The next lines of a log, with a last one that has no end if asked; None where none are."""
    start, header_lines = position.offset, _header_lines(source)
    limit = min(log.size, start + PIECE_BYTES)
    stop = limit if to_its_end and limit == log.size else log.end_of_lines(start, limit)
    if stop == start and limit < log.size:
        stop = limit  # a line as long as that is no line
    if stop <= start or (start == 0 and stop <= log.end_of_header(header_lines, stop)):
        return None
    return Piece(log, position, stop, header_lines, more=limit < log.size)


def _header_lines(source: FileSource) -> int:
    """The lines of a file that its reader wants to see before any others."""
    if source.format != "csv":
        return 0
    return (source.csv.skip_lines or 0) + (1 if source.csv.header else 0)


def _arrived(folder: WatchedFolder, piece: Piece, draft: Draft) -> Arrived:
    assert piece.after is not None, "it was read to its end"
    whole = piece.whole
    return Arrived(
        name=piece.name if whole is None else whole.name,
        origin=folder.origin(piece.log.stat),
        draft=draft,
        identity_by=IdentityBy.NAME if whole is None else whole.identity_by,
        cursors=(Cursor(piece.after.key, piece.after.to_json()),),
        replaces=None if whole is None else whole.replaces,
    )
