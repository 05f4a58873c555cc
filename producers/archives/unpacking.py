"""An archive in the spool, unpacked there: a draft for each member that is taken, else why not.

Nothing is written under a name of the archive's. What it may become is limited; where a limit is
passed nothing of the archive is taken, so that one which is let in later comes in whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

from headrace.config_files import FileSource
from headrace.errors import DeliveryRejectedError
from headrace.producers.archives.kind import ArchiveKind, find_archive
from headrace.producers.archives.member import (
    BrokenArchiveError,
    DamagedMemberError,
    Member,
)
from headrace.producers.archives.names import WantedMembers, shown_name
from headrace.producers.archives.tar import tar_members
from headrace.producers.archives.zip import zip_members
from headrace.producers.files.compression import open_decompressed
from headrace.producers.files.expansion_limits import (
    ExpansionLimits,
    ExpansionMeter,
    LimitPassedError,
)
from headrace.producers.spool.spool import Draft, Spool

# So many members that are passed over are named.
_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class Unpacked:
    """One member of an archive, by the name of the delivery it is; its bytes, or why it has none.

    Where there is no telling what members an archive has, it stands for the archive itself.
    """

    name: str
    draft: Draft | None
    rejected: str | None = None


def unpack(
    spool: Spool,
    source_name: str,
    source: FileSource,
    path: Path,
    name: str,
    kind: ArchiveKind,
    *,
    on_missed: Callable[[str], None] = lambda _: None,
) -> list[Unpacked]:
    """Unpack the archive of this name and kind; there is at least one of what comes of it.

    It stays where it is. `on_missed` hears the name of each member that no pattern matches.
    Raises what writing the spool does, with no draft left behind.
    """
    limits = ExpansionLimits.of(source.archive)
    meter = ExpansionMeter(limits, name, path.stat().st_size)
    unpacking = _Unpacking(spool, source_name, WantedMembers.of(source), limits, meter, on_missed)
    try:
        unpacking.unpack(path, name, kind, depth=0)
        spool.sync_drafts([one.draft for one in unpacking.found if one.draft is not None])
    except LimitPassedError as error:
        unpacking.drop_after(0)
        unpacking.found.append(Unpacked(name, None, str(error)))
    except BaseException:
        unpacking.drop_after(0)
        raise
    return unpacking.found


class _Unpacking:
    """What has come out of one archive so far."""

    def __init__(
        self,
        spool: Spool,
        source_name: str,
        wanted: WantedMembers,
        limits: ExpansionLimits,
        meter: ExpansionMeter,
        on_missed: Callable[[str], None],
    ) -> None:
        self._spool = spool
        self._source_name = source_name
        self._wanted = wanted
        self._limits = limits
        self._meter = meter
        self._on_missed = on_missed
        self.found: list[Unpacked] = []

    def unpack(self, path: Path, name: str, kind: ArchiveKind, *, depth: int) -> None:
        """Add what the archive at `path` holds; raises `LimitPassedError`."""
        before = len(self.found)
        passed_over = 0
        names: list[str] = []
        try:
            with self._members(path, name, kind) as members:
                for member in members:
                    self._meter.count_member()
                    if member.problem is None and not self._wanted(name, member.name):
                        passed_over += 1
                        if len(names) < _NAMED:
                            names.append(shown_name(member.name))
                        if self._wanted.misses(name, member.name):
                            self._on_missed(f"{name}/{shown_name(member.name)}")
                        continue
                    self._take(member, name, kind, depth)
        except BrokenArchiveError as error:
            self._reject(name, error)
        except LimitPassedError:
            raise
        except DeliveryRejectedError as error:
            # Where a checksum does not hold, there is no telling which of them are as they were.
            self.drop_after(before)
            self._reject(name, error)
        if len(self.found) == before:
            self._reject(
                name,
                DeliveryRejectedError(
                    f"{name}: expected members that the source takes, found"
                    f" {_passed_over(passed_over, names)}",
                    remedy="`patterns` and `ignore` say which names are taken; hidden and"
                    " unfinished files are not",
                ),
            )

    def drop_after(self, place: int) -> None:
        """Forget what was found from there on, with its drafts."""
        for one in self.found[place:]:
            if one.draft is not None:
                self._spool.discard(one.draft)
        del self.found[place:]

    def _take(self, member: Member, archive: str, kind: ArchiveKind, depth: int) -> None:
        name = f"{archive}/{member.name}"
        if member.problem is not None:
            self._reject(name, member.problem)
            return
        self._meter.foresee(member.size_bytes or 0)
        chunks = member.read()
        # What comes out of a decompressor is counted as it does, members with all the rest.
        counted = chunks if kind.compression else self._meter.watch(chunks)
        try:
            draft = self._spool.draft_chunks(self._source_name, counted, durable=False)
        except DamagedMemberError as error:
            self._reject(name, error)
            return
        inner = find_archive(draft.payload, name)
        if inner is None:
            self.found.append(Unpacked(name, draft))
            return
        try:
            self._unpack_within(draft, name, inner, depth + 1)
        finally:
            self._spool.discard(draft)

    def _unpack_within(self, draft: Draft, name: str, kind: ArchiveKind, depth: int) -> None:
        try:
            self._meter.check_nesting(depth)
        except LimitPassedError as error:  # of this one alone: the others beside it are taken
            self._reject(name, error)
            return
        self.unpack(draft.payload, name, kind, depth=depth)

    def _reject(self, name: str, error: DeliveryRejectedError) -> None:
        self.found.append(Unpacked(name, None, str(error)))

    @contextmanager
    def _members(self, path: Path, name: str, kind: ArchiveKind) -> Iterator[Iterator[Member]]:
        if kind.container == "zip":
            yield zip_members(path, name, self._limits.max_members)
            return
        with _opened(path, kind, name) as file:
            counted = cast(BinaryIO, self._meter.counted(file)) if kind.compression else file
            yield tar_members(counted, name)


def _passed_over(members: int, names: Sequence[str]) -> str:
    if not members:
        return "none"
    others = f"{members:,} members that are" if members > 1 else "1 member that is"
    more = f" and {members - len(names):,} more" if members > len(names) else ""
    return f"{others} not: {', '.join(names)}{more}"


def _opened(path: Path, kind: ArchiveKind, name: str) -> BinaryIO:
    if kind.compression is None:
        return path.open("rb")
    return open_decompressed(path, kind.compression, name=name)
