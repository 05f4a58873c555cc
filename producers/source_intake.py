"""What takes files in, by where they lie: each kind the same to whoever looks and takes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from headrace.config_files import FileSource
from headrace.object_place import is_object_place
from headrace.producers.folders.intake import Intake, Look, Taken
from headrace.producers.folders.put_away import PutAway, PutAwayReport
from headrace.producers.folders.scan import FileStat
from headrace.producers.following.intake import FollowIntake
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.receiving import Receiving
from headrace.producers.spool.spool import Spool

if TYPE_CHECKING:
    from headrace.producers.objects.intake import ObjectIntake
    from headrace.producers.objects.put_away import ObjectPutAway


class SourceIntake(Protocol):
    """Takes files of sources in. Its methods block; one at a time for each source."""

    def looks(
        self,
        source_name: str,
        source: FileSource,
        now_ns: int,
        only: Collection[str] | None = None,
        complete: Collection[str] = (),
    ) -> Iterator[Look]:
        """What there is to take, or of the files named in `only`: a part at a time.

        Each part is taken before the next is asked for. `complete`: files that need not settle.
        Raises `SourceUnreachableError` where there is no such place, or it cannot be asked; of a
        folder that is a `FolderAbsentError`.
        """

    def take(self, source_name: str, source: FileSource, files: Sequence[FileStat]) -> Taken:
        """Copy files of a look into the spool and write them down; all durable on return."""


class Intakes:
    """The intakes of one ledger."""

    def __init__(self, root: Path, ledger: Ledger, spool: Spool, receiving: Receiving) -> None:
        self._ledger = ledger
        self._spool = spool
        self._receiving = receiving
        self.of_folders = Intake(root, ledger, spool, receiving)
        self._put_away = PutAway(root, ledger)
        self._of_logs = FollowIntake(root, ledger, spool, receiving)
        self._of_objects: ObjectIntake | None = None
        self._objects_put_away: ObjectPutAway | None = None

    def of(self, source: FileSource) -> SourceIntake:
        """What takes a source's files in."""
        if source.follow:
            return self._of_logs
        return self.of_objects if is_object_place(source.path) else self.of_folders

    def put_away(
        self, source_name: str, source: FileSource, only: Collection[str] | None = None
    ) -> PutAwayReport:
        """Put away the files of a source (of these names) that have landed. Blocks."""
        if not is_object_place(source.path):
            return self._put_away.put_away(source_name, source, only)
        if self._objects_put_away is None:
            from headrace.producers.objects.put_away import ObjectPutAway

            self._objects_put_away = ObjectPutAway(self._ledger, self.of_objects.store)
        return self._objects_put_away.put_away(source_name, source, only)

    @property
    def of_objects(self) -> ObjectIntake:
        """The one of prefixes of object stores."""
        if self._of_objects is None:
            # Its client takes half a second to import, and few projects need it.
            from headrace.producers.objects.intake import ObjectIntake

            self._of_objects = ObjectIntake(self._ledger, self._spool, self._receiving)
        return self._of_objects
