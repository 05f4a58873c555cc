"""The ledger: where each delivery stands. Written by the project's one producer, read by all.

Each method is one transaction that is on disk when it returns. What it says of the topic may lag
behind (a crash between an acknowledgement and its row): that repeats records, which the consumer
drops, and never skips one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from headrace.errors import LedgerError
from headrace.producers.delivery import (
    ACCEPTED_STATES,
    NEVER_RETRIED,
    BronzeVersion,
    Cursor,
    DeliveryRow,
    DeliveryState,
    FrozenReading,
    Identity,
    Origin,
    RecordCount,
    Rejected,
)
from headrace.producers.identity import Accepted
from headrace.producers.ledger.cursors import SourceCursors, note_cursors
from headrace.producers.ledger.landed import LandedFiles
from headrace.producers.ledger.receipt import Acknowledgement, Receipt
from headrace.producers.ledger.revoked import RevokedDeliveries
from headrace.producers.ledger.rows import (
    forget_as_duplicate,
    from_micros,
    in_states,
    insert,
    remember_file,
    to_micros,
)
from headrace.producers.ledger.versions import ACCEPTED, Versions


class Ledger(RevokedDeliveries, LandedFiles, SourceCursors, Versions):
    """The ledger at `path`, opened for writing; made where there is none. Safe between threads."""

    @property
    def ledger_id(self) -> str:
        """Names this ledger; the spool that belongs to it carries the same."""
        (row,) = self._read("SELECT value FROM about WHERE key = 'ledger_id'")
        return str(row[0])

    def adopt_id(self, ledger_id: str) -> None:
        """Take on the id of the lost ledger that the spool belongs to."""
        with self._transaction() as connection:
            connection.execute("UPDATE about SET value = ? WHERE key = 'ledger_id'", (ledger_id,))

    # --- taking in

    def last_received_at(self) -> datetime | None:
        """The time of the latest delivery: the next one's must be later."""
        ((latest,),) = self._read("SELECT max(received_at) FROM deliveries")
        return None if latest is None else from_micros(latest)

    def seen_files(
        self, source: str, paths: Sequence[str] | None = None
    ) -> dict[str, tuple[Origin, str]]:
        """The files of a source (of these paths) as last seen, with the delivery each became."""
        query = (
            "SELECT path, inode, size_bytes, mtime_ns, delivery_id FROM seen_files WHERE source = ?"
        )
        if paths is None:
            rows = self._read(query, (source,))
        else:
            rows = [
                row for path in paths for row in self._read(query + " AND path = ?", (source, path))
            ]
        return {row[0]: (Origin(*row[:4]), row[4]) for row in rows}

    def duplicates_of_rejected(self, source: str) -> dict[str, tuple[str, str | None]]:
        """The duplicates whose original was rejected since, and may be tried again.

        With the content's hash, and the path of the archive that one is a member of; None where it
        is of none. Empty files are none of them: no other name helps those.
        """
        rows = self._read(
            "SELECT duplicate.delivery_id, duplicate.content_hash,"  # noqa: S608
            " duplicate.member, duplicate.path"
            " FROM deliveries AS original"
            " JOIN deliveries AS duplicate ON duplicate.source = original.source"
            " AND duplicate.content_hash = original.content_hash"
            " AND duplicate.duplicate_of = original.delivery_id"
            " WHERE original.state = 'rejected' AND original.source = ?"
            f" AND original.config_fingerprint IS NOT '{NEVER_RETRIED}'"
            " AND duplicate.state = 'duplicate' AND duplicate.size_bytes > 0",
            (source,),
        )
        return {row[0]: (row[1], row[3] if row[2] else None) for row in rows}

    def standing(self) -> list[tuple[str, str, int, int]]:
        """Deliveries and their bytes in the spool, by source and state."""
        rows = self._read(
            "SELECT source, state, count(*), sum(CASE WHEN expired_at IS NULL"
            " AND state <> 'duplicate' THEN size_bytes ELSE 0 END)"
            " FROM deliveries GROUP BY source, state"
        )
        return [(row[0], row[1], row[2], row[3]) for row in rows]

    def accepted_like(self, source: str, name: str, content_hash: str) -> list[Accepted]:
        """The accepted deliveries that decide whether this name and content is new.

        Of its name the latest: a poll has the same one for years, so no row but that is read.
        """
        # What another takes the place of is nobody's latest, though it is not out of the lake yet.
        last = (
            f"{ACCEPTED} AND NOT EXISTS (SELECT 1 FROM deliveries"  # noqa: S608
            f" WHERE replaces = one.delivery_id AND {ACCEPTED})"
        )
        rows = self._read(
            "SELECT delivery_id, name, content_hash, again_of FROM deliveries"  # noqa: S608
            f" WHERE source = ? AND content_hash = ? AND {ACCEPTED}"
            " UNION SELECT * FROM (SELECT delivery_id, name, content_hash, again_of"
            f" FROM deliveries AS one WHERE source = ? AND name = ? AND again_of IS NULL AND {last}"
            " ORDER BY delivery_id DESC LIMIT 1)"
            " UNION SELECT * FROM (SELECT delivery_id, name, content_hash, again_of"
            " FROM deliveries AS one WHERE source = ? AND name = ? AND again_of IS NOT NULL"
            f" AND {last}"
            " ORDER BY again_of DESC, delivery_id DESC LIMIT 1)",
            (source, content_hash, source, name, source, name),
        )
        return [Accepted(*row) for row in rows]

    def beside(self, source: str, name: str, delivery_id: str) -> list[Accepted]:
        """The deliveries of this name right before and right after that one, if they are accepted.

        What was rejected or revoked is right before or after it, and in the way, all the same.
        """
        rows = self._read(
            f"SELECT delivery_id, name, content_hash, again_of, {ACCEPTED} FROM deliveries"  # noqa: S608
            " WHERE delivery_id IN ("
            " (SELECT max(delivery_id) FROM deliveries WHERE source = :source AND name = :name"
            " AND state <> 'duplicate' AND again_of IS NULL AND delivery_id < :id),"
            " (SELECT min(delivery_id) FROM deliveries WHERE source = :source AND name = :name"
            " AND state <> 'duplicate' AND again_of IS NULL AND delivery_id > :id))",
            {"source": source, "name": name, "id": delivery_id},
        )
        return [Accepted(*row[:4]) for row in rows if row[4]]

    def left_behind(self, folder: str, sources: Collection[str]) -> dict[str, int]:
        """Accepted deliveries out of a folder by sources other than these: how many of each."""
        rows = self._read(
            "SELECT source, count(*) FROM deliveries"  # noqa: S608
            f" WHERE state IN {in_states(ACCEPTED_STATES)} AND substr(path, 1, ?) = ?"
            " GROUP BY source ORDER BY source",
            (len(folder), folder),
        )
        return {row[0]: row[1] for row in rows if row[0] not in sources}

    def has_brought(self, source: str) -> bool:
        """Whether a source has brought anything yet."""
        return bool(self._read("SELECT 1 FROM deliveries WHERE source = ? LIMIT 1", (source,)))

    def knows_as(self, identity: Identity, original: str) -> bool:
        """Whether it is that delivery under its own name, or is listed as a duplicate of it."""
        return bool(
            self._read(
                "SELECT 1 FROM deliveries WHERE source = ? AND content_hash = ? AND name = ?"
                " AND (delivery_id = ? OR state = 'duplicate' AND duplicate_of = ?) LIMIT 1",
                (identity.source, identity.content_hash, identity.name, original, original),
            )
        )

    def look_again(self, source: str, path: str, config_fingerprint: str) -> None:
        """Take a file for new, so that what was rejected in it is tried with this config.

        Where it is an object, a listing that would begin behind it begins anew.
        """
        with self._transaction() as connection:
            connection.execute(
                "DELETE FROM seen_files WHERE source = ? AND path = ?", (source, path)
            )
            connection.execute(
                "DELETE FROM cursors WHERE source = ? AND key LIKE '%://%'"
                " AND substr(?, 1, length(key)) = key",
                (source, path),
            )
            connection.execute(
                "UPDATE deliveries SET config_fingerprint = ? WHERE source = ? AND path = ?"
                " AND state = 'rejected' AND member AND size_bytes = 0",
                (config_fingerprint, source, path),
            )

    def record(
        self,
        receipts: Sequence[Receipt],
        *,
        cursors: tuple[str, Sequence[Cursor]] = ("", ()),
        seen: tuple[str, Origin, str] | None = None,
        unpacked_again: str | None = None,
    ) -> None:
        """Write down what arrived: `received`, `duplicate` or `rejected`, and its cursors.

        With the files it was seen as; `seen` (source, file, first delivery id) is an archive's, all
        of whose members are there. What was rejected of that archive before, without bytes of its
        own, goes: it has the content hash `unpacked_again`, of the archive. `cursors` (source,
        cursors) are of none of these deliveries.
        """
        with self._transaction() as connection:
            if seen is not None:
                connection.execute(
                    "DELETE FROM deliveries WHERE source = ? AND content_hash = ? AND path = ?"
                    " AND state = 'rejected' AND member",
                    (seen[0], unpacked_again, seen[1].path),
                )
            for receipt in receipts:
                if receipt.goes_on and receipt.identity.origin.path:
                    forget_as_duplicate(connection, receipt.identity)
                insert(
                    connection,
                    receipt.identity,
                    duplicate_of=receipt.duplicate_of,
                    reason=receipt.reason,
                    rejected_with=receipt.rejected_with,
                )
            if seen is not None:
                remember_file(connection, *seen)
            note_cursors(connection, *cursors)

    def forget_repeats(self, delivery_id: str) -> None:
        """Of the duplicates of one delivery under one name, keep this one alone.

        For sources that bring the same again and again: what unchanged polls leave is bounded.
        """
        with self._transaction() as connection:
            connection.execute(
                "DELETE FROM deliveries WHERE state = 'duplicate' AND delivery_id < ?"
                " AND (source, name, duplicate_of) ="
                " (SELECT source, name, duplicate_of FROM deliveries WHERE delivery_id = ?)",
                (delivery_id, delivery_id),
            )

    def restore(
        self,
        identity: Identity,
        frozen: FrozenReading | None,
        count: RecordCount | None,
        duplicate_of: str | None = None,
        *,
        rejected: Rejected | None = None,
        revoked: bool = False,
    ) -> None:
        """Write down a delivery that only the spool still knows of."""
        with self._transaction() as connection:
            insert(
                connection,
                identity,
                frozen,
                count,
                duplicate_of,
                reason=None if rejected is None or revoked else rejected.reason,
                rejected_with=None if rejected is None else rejected.config_fingerprint,
                revoked=revoked,
            )

    # --- moving on

    def reject(self, delivery_id: str, reason: str, config_fingerprint: str) -> None:
        """It cannot be read: say why, and with which config, so that another is tried."""
        self._move(
            delivery_id,
            (DeliveryState.RECEIVED, DeliveryState.PUBLISHING, DeliveryState.PUBLISHED),
            DeliveryState.REJECTED,
            reason=reason,
            config_fingerprint=config_fingerprint,
        )

    def retry(self, delivery_id: str, stream: str, replaces: str | None = None) -> None:
        """Try a rejected delivery again, for the stream that its source feeds now.

        `replaces`: whose place it takes, where that is another's than before.
        """
        self._move(
            delivery_id,
            (DeliveryState.REJECTED,),
            DeliveryState.RECEIVED,
            stream=stream,
            reason=None,
            config_fingerprint=None,
            reading=None,
            topic_partition=None,
            acknowledged=0,
            last_offset=None,
            **({} if replaces is None else {"replaces": replaces}),
        )

    def repeats(self, delivery_id: str, original: str) -> None:
        """A delivery that was rejected before turns out to repeat one accepted since.

        So do its own duplicates, then: what a duplicate is of has records.
        """
        row = self.delivery(delivery_id)
        with self._transaction() as connection:
            connection.execute(
                "UPDATE deliveries SET duplicate_of = ? WHERE source = ?"
                " AND (content_hash = ? OR name = ?) AND state = 'duplicate' AND duplicate_of = ?",
                (original, row.source, row.content_hash, row.name, delivery_id),
            )
        self._move(
            delivery_id,
            (DeliveryState.REJECTED,),
            DeliveryState.DUPLICATE,
            duplicate_of=original,
            reason=None,
            config_fingerprint=None,
        )

    def retarget(self, delivery_id: str, stream: str) -> None:
        """Its source feeds another stream now; nothing of it has been published."""
        self._move(delivery_id, (DeliveryState.RECEIVED,), DeliveryState.RECEIVED, stream=stream)

    def postpone(self, delivery_id: str, reason: str) -> None:
        """A delivery cannot be published now: bronze is asked before it is tried again."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE deliveries SET reason = ?, state = CASE WHEN records IS NULL"
                " THEN state ELSE 'published' END"
                " WHERE delivery_id = ? AND state IN ('received', 'publishing')",
                (reason, delivery_id),
            )

    def freeze(self, delivery_id: str, frozen: FrozenReading) -> None:
        """Fix how it is read; from here on its records may be on the topic."""
        self._move(
            delivery_id,
            (DeliveryState.RECEIVED,),
            DeliveryState.PUBLISHING,
            reading=frozen.reading,
            topic_partition=frozen.topic_partition,
            **({} if frozen.stream is None else {"stream": frozen.stream}),
        )

    def freeze_all(self, frozen: Mapping[str, FrozenReading]) -> list[DeliveryRow]:
        """The same for many at once; those that this holds for, as they then stand."""
        with self._transaction() as connection:
            connection.executemany(
                "UPDATE deliveries SET state = 'publishing', reading = ?, topic_partition = ?,"
                " stream = coalesce(?, stream) WHERE delivery_id = ? AND state = 'received'",
                [(f.reading, f.topic_partition, f.stream, id_) for id_, f in frozen.items()],
            )
        rows = map(self.delivery, frozen)
        return [
            row
            for row in rows
            if row.state is DeliveryState.PUBLISHING and row.frozen == frozen[row.delivery_id]
        ]

    def acknowledge(self, acknowledgements: Iterable[Acknowledgement]) -> None:
        """Note how far the broker has each of these deliveries."""
        with self._transaction() as connection:
            connection.executemany(
                "UPDATE deliveries SET acknowledged = ?, unreadable_records = ?, last_offset = ?"
                " WHERE delivery_id = ? AND state = 'publishing' AND republished = ?",
                [
                    (a.next_record, a.unreadable, a.last_offset, a.delivery_id, a.republished)
                    for a in acknowledgements
                ],
            )

    def published(self, delivery_id: str, count: RecordCount, last_offset: int | None) -> None:
        """All of its records are acknowledged."""
        self._move(
            delivery_id,
            (DeliveryState.PUBLISHING,),
            DeliveryState.PUBLISHED,
            reason=None,
            records=count.records,
            unreadable_records=count.unreadable,
            acknowledged=count.records,
            last_offset=last_offset,
        )

    def published_all(
        self, published: Mapping[str, tuple[RecordCount, int | None]]
    ) -> list[DeliveryRow]:
        """The same for many at once, each with its last offset; as they then stand."""
        with self._transaction() as connection:
            connection.executemany(
                "UPDATE deliveries SET state = 'published', reason = NULL, records = ?,"
                " unreadable_records = ?, acknowledged = ?, last_offset = ?"
                " WHERE delivery_id = ? AND state = 'publishing'",
                [
                    (count.records, count.unreadable, count.records, last_offset, id_)
                    for id_, (count, last_offset) in published.items()
                ],
            )
        rows = map(self.delivery, published)
        return [row for row in rows if row.state is DeliveryState.PUBLISHED]

    def republish(self, delivery_id: str) -> None:
        """Publish it again from its first record: bronze drops what it has."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE deliveries SET state = 'publishing', acknowledged = 0, last_offset = NULL,"
                " bronze_id = NULL, bronze_version = NULL, landed_at = NULL,"
                " republished = republished + 1"
                " WHERE delivery_id = ? AND state IN ('published', 'landed')",
                (delivery_id,),
            )

    def land(
        self, delivery_ids: Iterable[str], bronze: BronzeVersion | None, now: datetime
    ) -> None:
        """Bronze holds all records of these."""
        table_id, version = (None, None) if bronze is None else (bronze.table_id, bronze.version)
        with self._transaction() as connection:
            connection.executemany(
                "UPDATE deliveries SET state = 'landed', reason = NULL, bronze_id = ?,"
                " bronze_version = ?, landed_at = ? WHERE delivery_id = ? AND state = 'published'",
                [(table_id, version, to_micros(now), id_) for id_ in delivery_ids],
            )

    def bronze_seen(self, stream: str) -> BronzeVersion | None:
        """Where a stream's bronze stood when `unland` was last told."""
        rows = self._read(
            "SELECT bronze_id, bronze_version FROM bronze_seen WHERE stream = ?", (stream,)
        )
        return BronzeVersion(*rows[0]) if rows else None

    def unland(self, stream: str, bronze: BronzeVersion | None, *, restored: bool = False) -> int:
        """Set back to `published` what bronze, as it is now, may not hold; how many that were.

        That is what landed in another table or at a version it does not have (any more), and all
        where it was `restored`. A delivery without records is in every table. Of such a table it is
        not known either whether what was revoked is out of it: it has to be taken out once more.
        """
        untaken = [
            f"UPDATE {table} SET taken_out_at = NULL WHERE stream = ? AND (? OR NOT EXISTS"  # noqa: S608
            " (SELECT 1 FROM bronze_seen AS seen"
            f" WHERE seen.stream = {table}.stream AND seen.bronze_id = ?))"
            for table in ("deliveries", "inherited")
        ]
        query = (
            "UPDATE deliveries SET state = 'published', bronze_id = NULL, bronze_version = NULL,"
            " landed_at = NULL WHERE stream = ? AND state = 'landed' AND records > 0"
        )
        with self._transaction() as connection:
            if bronze is None:
                connection.execute("DELETE FROM bronze_seen WHERE stream = ?", (stream,))
                for update in untaken:
                    connection.execute(update, (stream, True, None))
                return connection.execute(query, (stream,)).rowcount
            for update in untaken:
                connection.execute(update, (stream, restored, bronze.table_id))
            connection.execute(
                "INSERT OR REPLACE INTO bronze_seen VALUES (?, ?, ?)",
                (stream, bronze.table_id, bronze.version),
            )
            return connection.execute(
                query + " AND (? OR bronze_id IS NOT ? OR bronze_version > ?)",
                (stream, restored, bronze.table_id, bronze.version),
            ).rowcount

    # --- expiring

    def expirable(self, before: datetime) -> list[DeliveryRow]:
        """Deliveries landed or taken out before then: their bytes need not be kept any longer."""
        return self._select(
            "(state = 'landed' AND landed_at < ? OR state = 'revoked' AND taken_out_at < ?)"
            " AND expired_at IS NULL",
            (to_micros(before), to_micros(before)),
        )

    def expire(self, delivery_ids: Iterable[str], now: datetime) -> None:
        """Note that the bytes of these are gone from the spool."""
        with self._transaction() as connection:
            connection.executemany(
                "UPDATE deliveries SET expired_at = ? WHERE delivery_id = ?",
                [(to_micros(now), delivery_id) for delivery_id in delivery_ids],
            )

    # --- looking

    def delivery(self, delivery_id: str) -> DeliveryRow:
        """One delivery; raises `LedgerError` where there is none of that id."""
        row = self.find(delivery_id)
        if row is None:
            raise LedgerError(f"no delivery {delivery_id} in the ledger {self.path}")
        return row

    def find(self, delivery_id: str) -> DeliveryRow | None:
        """One delivery; None where there is none of that id."""
        rows = self._select("delivery_id = ?", (delivery_id,))
        return rows[0] if rows else None

    def deliveries(
        self, states: Sequence[DeliveryState], source: str | None = None
    ) -> list[DeliveryRow]:
        """The deliveries in these states (of one source), by order of arrival."""
        if source is None:
            return self._select(f"state IN {in_states(states)}")
        return self._select(f"state IN {in_states(states)} AND source = ?", (source,))

    def delivery_ids(self) -> set[str]:
        """Every delivery the ledger knows of."""
        return {row[0] for row in self._read("SELECT delivery_id FROM deliveries")}
