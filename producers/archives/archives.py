"""Archives that arrive: each member a delivery that names its archive, all of them at once.

An archive counts as seen in the transaction that records what became of its members: a crash before
that has it unpacked again, and members that are there already are recognised. A rejected member has
no bytes of its own: it is tried again by unpacking its archive again, which takes its row's place.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from headrace.config_files import FileSource
from headrace.producers.archives.kind import ArchiveKind, find_archive
from headrace.producers.archives.unpacking import unpack
from headrace.producers.ledger.receipt import Receipt
from headrace.producers.receiving import Arrived, Receiving, Rejection, SeenArchive
from headrace.producers.retries import unpacking_fingerprint
from headrace.producers.spool.spool import Draft, Spool

log = structlog.get_logger("produce")


class Archives:
    """Takes archives in for one ledger. Its methods block."""

    def __init__(self, spool: Spool, receiving: Receiving) -> None:
        self._spool = spool
        self._receiving = receiving

    def receive(
        self, source_name: str, source: FileSource, files: Sequence[Arrived]
    ) -> tuple[Receipt, ...]:
        """As `Receiving.receive`, where archives among the files stand for what is in them.

        All durable when this returns; each archive is written down by itself.
        """
        receipts: list[Receipt] = []
        plain: list[Arrived] = []
        for file in files:
            kind = None if file.draft is None else find_archive(file.draft.payload, file.name)
            if kind is None or file.draft is None:
                plain.append(file)
                continue
            # In their order: the first of two with the same content is the original.
            if plain:
                receipts += self._receiving.receive(source_name, source.stream, plain)
            plain = []
            receipts += self._receive_archive(source_name, source, file, file.draft, kind)
        if plain:
            receipts += self._receiving.receive(source_name, source.stream, plain)
        return tuple(receipts)

    def _receive_archive(
        self,
        source_name: str,
        source: FileSource,
        archive: Arrived,
        draft: Draft,
        kind: ArchiveKind,
    ) -> tuple[Receipt, ...]:
        try:
            members = unpack(self._spool, source_name, source, draft.payload, archive.name, kind)
        finally:
            self._spool.discard(draft)
        fingerprint = unpacking_fingerprint(source)
        arrived = [
            Arrived(
                name=member.name,
                origin=archive.origin,
                draft=member.draft,
                identity_by=archive.identity_by,
                member=True,
                rejection=None
                if member.rejected is None
                else Rejection(member.rejected, fingerprint, draft.content_hash),
            )
            for member in members
        ]
        receipts = self._receiving.receive(
            source_name,
            source.stream,
            arrived,
            seen=SeenArchive(archive.origin, draft.content_hash),
        )
        log.info(
            "archive_unpacked",
            source=source_name,
            name=archive.name,
            members=len(members),
            rejected=sum(member.draft is None for member in members),
            known=len(members) - len(receipts),
        )
        return receipts
