"""The spool: each delivery's bytes as they came, with what it is and how it is read.

    <spool>/ledger.json                          whose spool this is
    <spool>/<source>/<delivery id>/payload       the bytes
                                   identity.json what it is; from its receipt on
                                   reading.json  how it is read; from before its first record
                                   exchange.json the HTTP request or answer it was; where it was
                                   count.json    how many records; once known
                                   rejected.json why it is not published; while that holds
                                   held.json     its bytes never expire
                                   revoked.json  it was taken back out

An entry appears by a rename and is complete, or it is not there. The ledger can be built again
from it with the same ids. What expires is the payload alone: as long as identity stays, a file
that still lies in its folder is known and not taken twice.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from headrace.durable import sync_file, sync_folder
from headrace.errors import LedgerError
from headrace.producers.delivery import (
    Exchange,
    FrozenReading,
    Identity,
    Origin,
    RecordCount,
    Rejected,
)
from headrace.producers.spool.stored import (
    Held,
    Inherited,
    Owner,
    Revoked,
    StoredCount,
    StoredExchange,
    StoredIdentity,
    StoredReading,
    StoredRejection,
    load,
    spool_errors,
    store,
)

_INTAKE_PREFIX: Final = ".intake-"
_COPY_CHUNK_BYTES: Final = 4 * 2**20
_SYNCED_AT_ONCE: Final = 8


class FileChangedError(Exception):
    """A file changed or vanished while it was copied: it is not complete yet."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A file's copy in the spool that no one can see yet; `placed` or `discarded` next."""

    folder: Path
    content_hash: str
    size_bytes: int

    @property
    def payload(self) -> Path:
        """Where its bytes are."""
        return self.folder / "payload"

    def begins_with(self, size_bytes: int, content_hash: str) -> bool:
        """Whether its first bytes are the content of that hash."""
        return _begins_with(self.payload, size_bytes, content_hash)


@dataclass(frozen=True, slots=True)
class Entry:
    """A delivery as the spool knows it."""

    identity: Identity
    frozen: FrozenReading | None
    count: RecordCount | None
    revoked: bool
    rejected: Rejected | None


class Spool:
    """The spool in the folder `root`. One producer writes it; safe between threads."""

    def __init__(self, root: Path) -> None:
        self.root = root

    # --- whose it is

    def owner(self) -> str | None:
        """The id of the ledger it belongs to; None for a new spool."""
        stored = load(self.root / "ledger.json", Owner)
        return None if stored is None else stored.ledger_id

    def set_owner(self, ledger_id: str) -> None:
        """Say, durably, which ledger it belongs to."""
        with spool_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
        store(self.root / "ledger.json", Owner(ledger_id=ledger_id), durable=True)

    def inherit(self, source: str, streams: Mapping[str, str]) -> None:
        """Note, durably, which deliveries of a former ledger the lake has, by stream."""
        known = self.inherited(source)
        if streams.keys() <= known.keys():
            return
        with spool_errors(self.root):
            self._source_folder(source).mkdir(parents=True, exist_ok=True)
        path = self._source_folder(source) / ".inherited.json"
        store(path, Inherited(streams={**known, **streams}), durable=True)

    def inherited(self, source: str) -> dict[str, str]:
        """What was noted so: ids, each with its stream."""
        stored = load(self._source_folder(source) / ".inherited.json", Inherited)
        return {} if stored is None else stored.streams

    def sources(self) -> list[str]:
        """The sources that have brought something."""
        if not self.root.is_dir():
            return []
        with spool_errors(self.root):
            return sorted(path.name for path in self.root.iterdir() if path.is_dir())

    # --- taking in

    def draft(self, source: str, path: Path, origin: Origin) -> Draft:
        """Copy a file and hash what was copied; the copy is on disk when this returns.

        The bytes are copied, not linked: a user may append to the file. Raises `FileChangedError`
        where the file is not, before and after, as `origin` says, `OSError` where it cannot be
        opened.
        """
        folder = self._begin_draft(source)
        try:
            content_hash, size_bytes = self._copy(path, folder / "payload", origin)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return Draft(folder, content_hash, size_bytes)

    def draft_chunks(self, source: str, chunks: Iterable[bytes], *, durable: bool = True) -> Draft:
        """Bytes from anywhere as a draft. Raises what `chunks` does.

        It is on disk when this returns, or, where it need not be `durable`, after `sync_drafts`.
        """
        folder = self._begin_draft(source)
        digest = hashlib.sha256()
        size_bytes = 0
        try:
            with (folder / "payload").open("wb") as copy:
                for chunk in chunks:
                    digest.update(chunk)
                    with spool_errors(self.root):
                        copy.write(chunk)
                    size_bytes += len(chunk)
                with spool_errors(self.root):
                    copy.flush()
                    if durable:
                        os.fsync(copy.fileno())
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return Draft(folder, digest.hexdigest(), size_bytes)

    def sync_drafts(self, drafts: Sequence[Draft]) -> None:
        """Make drafts durable: a disk takes many at once in little more time than one."""
        with ThreadPoolExecutor(_SYNCED_AT_ONCE) as pool, spool_errors(self.root):
            for _ in pool.map(sync_file, (draft.payload for draft in drafts)):
                pass

    def draft_bytes(self, source: str, data: bytes) -> Draft:
        """The same of bytes that are at hand."""
        return self.draft_chunks(source, (data,))

    def draft_again(self, source: str, delivery_id: str, content_hash: str, size: int) -> Draft:
        """The bytes of a delivery as a draft of another: linked, as nobody ever changes them."""
        folder = self._begin_draft(source)
        with spool_errors(self.root):
            payload = self.payload(source, delivery_id)
            try:
                (folder / "payload").hardlink_to(payload)
            except OSError:  # a file system without links
                shutil.copyfile(payload, folder / "payload")
                with (folder / "payload").open("rb") as copy:
                    os.fsync(copy.fileno())
        return Draft(folder, content_hash, size)

    def _begin_draft(self, source: str) -> Path:
        with spool_errors(self.root):
            folder = self._source_folder(source) / f"{_INTAKE_PREFIX}{uuid.uuid4().hex}"
            folder.mkdir(parents=True)
        return folder

    def _copy(self, path: Path, target: Path, origin: Origin) -> tuple[str, int]:
        digest = hashlib.sha256()
        size_bytes = 0
        try:
            source = path.open("rb")
        except FileNotFoundError as error:
            raise FileChangedError(f"{path}: vanished") from error
        with source, spool_errors(self.root), target.open("wb") as copy:
            if not origin.is_unchanged(os.fstat(source.fileno())):
                raise FileChangedError(f"{path}: changed since it was seen")
            while chunk := source.read(_COPY_CHUNK_BYTES):
                digest.update(chunk)
                copy.write(chunk)
                size_bytes += len(chunk)
            unchanged = origin.is_unchanged(os.fstat(source.fileno()))
            if size_bytes != origin.size_bytes or not unchanged:
                raise FileChangedError(f"{path}: changed while it was copied")
            copy.flush()
            os.fsync(copy.fileno())
        return digest.hexdigest(), size_bytes

    def place(self, draft: Draft, identity: Identity, exchange: Exchange | None = None) -> None:
        """Make a draft the delivery's entry; durable once `sync_source` has returned."""
        if exchange is not None:
            store(draft.folder / "exchange.json", StoredExchange(exchange=exchange), durable=True)
        store(draft.folder / "identity.json", StoredIdentity(identity=identity), durable=True)
        with spool_errors(self.root):
            draft.folder.rename(self._folder(identity.source, identity.delivery_id))

    def sync_source(self, source: str) -> None:
        """Make the entries placed so far durable: one fsync for any number of them."""
        with spool_errors(self.root):
            sync_folder(self._source_folder(source))
            sync_folder(self.root)

    def discard(self, draft: Draft) -> None:
        """Remove a draft that is not needed."""
        shutil.rmtree(draft.folder, ignore_errors=True)

    def clean(self) -> None:
        """Remove what a crashed intake left behind; nothing else may be taking in."""
        for leftover in self.root.glob(f"*/{_INTAKE_PREFIX}*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def take_place(self, source: str, delivery_id: str, replaces: str) -> None:
        """Note, durably, that a delivery of which nothing was sent takes another's place."""
        identity = replace(self.entry(source, delivery_id).identity, replaces=replaces)
        path = self._folder(source, delivery_id) / "identity.json"
        store(path, StoredIdentity(identity=identity), durable=True)

    # --- publishing

    def payload(self, source: str, delivery_id: str) -> Path:
        """Where a delivery's bytes are."""
        return self._folder(source, delivery_id) / "payload"

    def hash_of(self, source: str, delivery_id: str) -> str | None:
        """The SHA-256 of a delivery's bytes as they are now, in hex; None where they are gone."""
        payload = self.payload(source, delivery_id)
        try:
            with payload.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise LedgerError(
                f"the spool's {payload} cannot be read: {error.strerror}",
                remedy="check the disk and the folder's permissions, then run again",
            ) from error

    def begins_with(
        self, source: str, delivery_id: str, size_bytes: int, content_hash: str
    ) -> bool:
        """Whether a delivery's first bytes are the content of that hash; not where it has none."""
        payload = self.payload(source, delivery_id)
        with spool_errors(self.root):
            return payload.exists() and _begins_with(payload, size_bytes, content_hash)

    def freeze(self, source: str, delivery_id: str, frozen: FrozenReading) -> None:
        """Fix, durably, how a delivery is read; it is not rejected (any more)."""
        self.retry(source, delivery_id)
        path = self._folder(source, delivery_id) / "reading.json"
        store(path, StoredReading(frozen=frozen), durable=True)

    def is_frozen(self, source: str, delivery_id: str) -> bool:
        """Whether it was fixed how a delivery is read."""
        return (self._folder(source, delivery_id) / "reading.json").exists()

    def reject(self, source: str, delivery_id: str, rejected: Rejected) -> None:
        """Note why a delivery is not published; how it was to be read counts only if it is halfway.

        Not durable, as each of very many would wait for the disk: where a power cut takes it, the
        ledger says it at the next start.
        """
        folder = self._folder(source, delivery_id)
        # Before its reading is gone: with neither it would be one that nobody has tried yet.
        store(folder / "rejected.json", StoredRejection(rejected=rejected), durable=False)
        if not rejected.halfway:
            with spool_errors(self.root):
                (folder / "reading.json").unlink(missing_ok=True)

    def rejected(self, source: str, delivery_id: str) -> Rejected | None:
        """Why a delivery is not published; None where it was not rejected."""
        try:
            stored = load(self._folder(source, delivery_id) / "rejected.json", StoredRejection)
        except LedgerError:
            return None  # it is not made durable: a power cut may leave it empty
        return None if stored is None else stored.rejected

    def is_rejected(self, source: str, delivery_id: str) -> bool:
        """Whether that is noted of a delivery."""
        try:
            stat = (self._folder(source, delivery_id) / "rejected.json").stat()
        except FileNotFoundError:
            return False
        return stat.st_size > 0  # empty: what a power cut left

    def retry(self, source: str, delivery_id: str) -> None:
        """Forget that a delivery was rejected; durable once it is frozen."""
        with spool_errors(self.root):
            (self._folder(source, delivery_id) / "rejected.json").unlink(missing_ok=True)

    def recover(self, source: str, delivery_id: str, path: Path, content_hash: str) -> bool:
        """Bring a lost payload back from the file it came from, where that still is the same."""
        target = self.payload(source, delivery_id)
        temporary = target.with_suffix(".tmp")
        try:
            stat = path.stat()
            origin = Origin(str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns)
            with spool_errors(self.root):
                target.parent.mkdir(parents=True, exist_ok=True)
            found, _ = self._copy(path, temporary, origin)
        except (FileChangedError, OSError):
            return False
        with spool_errors(self.root):
            if found != content_hash:
                temporary.unlink()
                return False
            temporary.replace(target)
            sync_folder(target.parent)
        return True

    def what_is_wrong(
        self, source: str, delivery_id: str, origin: Path | None, content_hash: str
    ) -> str | None:
        """What is the matter with a delivery's bytes, to go on from "its bytes"; None: nothing.

        Where they are gone or damaged they are brought back from the file `origin`, if there is one
        and it still has them.
        """
        found = self.hash_of(source, delivery_id)
        if found == content_hash:
            return None
        if origin is not None and self.recover(source, delivery_id, origin, content_hash):
            return None
        trouble = "are not in the spool any more"
        if found is not None:
            payload = self.payload(source, delivery_id)
            trouble = (
                f"in the spool are damaged ({payload}: SHA-256 is {found}, not {content_hash})"
            )
        return trouble if origin is None else f"{trouble}, and {origin} is gone or has changed"

    def counted(self, source: str, delivery_id: str, count: RecordCount) -> None:
        """Note how many records it has. Not durable: lost, it is read and counted again."""
        path = self._folder(source, delivery_id) / "count.json"
        store(path, StoredCount(count=count), durable=False)

    # --- looking, expiring

    def delivery_ids(self) -> Iterator[tuple[str, str]]:
        """Each entry's source and delivery id."""
        with spool_errors(self.root):
            for source in self.sources():
                for entry in sorted(self._source_folder(source).iterdir()):
                    if not entry.name.startswith("."):
                        yield source, entry.name

    def entry(self, source: str, delivery_id: str) -> Entry:
        """What the spool knows of a delivery; raises `LedgerError` where that is damaged."""
        folder = self._folder(source, delivery_id)
        stored = load(folder / "identity.json", StoredIdentity)
        if stored is None:
            raise LedgerError(
                f"the spool's entry {folder} has no identity.json",
                remedy="it was not made by headrace, or was damaged: move it out of the spool",
            )
        reading = load(folder / "reading.json", StoredReading)
        rejected = self.rejected(source, delivery_id)
        if rejected is not None and not rejected.halfway:
            reading = None  # a crash left it there
        try:
            count = load(folder / "count.json", StoredCount)
        except LedgerError:
            count = None  # it is not made durable: a power cut may leave it empty
        return Entry(
            stored.identity,
            None if reading is None else reading.frozen,
            None if count is None else count.count,
            self.is_revoked(source, delivery_id),
            rejected,
        )

    def exchange(self, source: str, delivery_id: str) -> Exchange | None:
        """The HTTP exchange that a delivery is of; None where it is of none."""
        stored = load(self._folder(source, delivery_id) / "exchange.json", StoredExchange)
        return None if stored is None else stored.exchange

    def expire(self, source: str, delivery_id: str) -> None:
        """Remove a delivery's bytes; what it was stays known."""
        with spool_errors(self.root):
            self.payload(source, delivery_id).unlink(missing_ok=True)

    def hold(self, source: str, delivery_id: str) -> None:
        """See to it, durably, that a delivery's bytes do not expire."""
        store(self._folder(source, delivery_id) / "held.json", Held(), durable=True)

    def has(self, source: str, delivery_id: str) -> bool:
        """Whether a delivery has an entry: what was rejected as it came has none."""
        return (self._folder(source, delivery_id) / "identity.json").exists()

    def is_held(self, source: str, delivery_id: str) -> bool:
        """Whether a delivery's bytes must not expire."""
        return (self._folder(source, delivery_id) / "held.json").exists()

    def revoke(self, source: str, delivery_id: str) -> None:
        """Note, durably, that a delivery was taken back out; nothing where it has no entry."""
        folder = self._folder(source, delivery_id)
        if folder.is_dir():
            store(folder / "revoked.json", Revoked(), durable=True)

    def is_revoked(self, source: str, delivery_id: str) -> bool:
        """Whether a delivery was taken back out."""
        return (self._folder(source, delivery_id) / "revoked.json").exists()

    def remove(self, source: str, delivery_id: str) -> None:
        """Remove the entry of a delivery that turned out to repeat another."""
        folder = self._folder(source, delivery_id)
        # Renamed first: an entry is complete or it is not there.
        leftover = folder.with_name(f"{_INTAKE_PREFIX}{uuid.uuid4().hex}")
        with spool_errors(self.root):
            if folder.exists():
                folder.rename(leftover)
        shutil.rmtree(leftover, ignore_errors=True)

    def _source_folder(self, source: str) -> Path:
        return self.root / source

    def _folder(self, source: str, delivery_id: str) -> Path:
        return self.root / source / delivery_id


def _begins_with(path: Path, size_bytes: int, content_hash: str) -> bool:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while size_bytes > 0 and (chunk := file.read(min(_COPY_CHUNK_BYTES, size_bytes))):
            digest.update(chunk)
            size_bytes -= len(chunk)
    return digest.hexdigest() == content_hash
