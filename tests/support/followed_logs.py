"""A project that follows the logs in its inbox, with whoever writes and rotates them."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from headrace.config_files import FileSource, LinesOptions
from headrace.producers.delivery import DeliveryRow, DeliveryState
from headrace.producers.folders.intake import Intake, Look
from headrace.producers.following.intake import FollowIntake
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.receiving import Receiving
from headrace.producers.reconcile import reconcile
from headrace.producers.spool.spool import Spool
from support.deliveries import BEGAN

LOGS = FileSource(
    kind="files",
    path="inbox",
    stream="access",
    patterns=("*.log", "*.log.*"),
    follow=True,
    format="lines",
    lines=LinesOptions(pattern="(?P<line>.*)"),
    settle=0,
)


class FollowedLogs:
    """Ledger, spool and inbox; `source` is what follows them.

    `hasty`: the disk is not waited for.
    """

    def __init__(self, root: Path, source: FileSource = LOGS, *, hasty: bool = False) -> None:
        self.hasty = hasty
        self.root = root
        self.source = source
        self.inbox = root / "inbox"
        self.inbox.mkdir(parents=True, exist_ok=True)
        self.start()

    def start(self) -> None:
        """As a producer does."""
        self.spool = Spool(self.root / "spool")
        self.ledger = Ledger(self.root / "ledger.db")
        if self.hasty:
            self.ledger._connection.execute("PRAGMA synchronous = OFF")
        reconcile(self.ledger, self.spool)
        receiving = Receiving(self.ledger, self.spool, lambda: BEGAN)
        intake = FollowIntake if self.source.follow else Intake
        self.intake = intake(self.root, self.ledger, self.spool, receiving)

    def follow(self, *, follow: bool = True) -> None:
        """Start again with another config: files are followed, or taken whole."""
        self.source = self.source.model_copy(update={"follow": follow})
        self.restart()

    def restart(self, *, lose_ledger: bool = False) -> None:
        """End and start again, maybe without the ledger."""
        self.ledger.close()
        if lose_ledger:
            for file in self.root.glob("ledger.db*"):
                file.unlink()
        self.start()

    # --- who writes

    def append(self, name: str, text: str | bytes) -> Path:
        """Write more to a log."""
        path = self.inbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(text.encode() if isinstance(text, str) else text)
        return path

    def rename(self, name: str, to: str) -> None:
        """Rotate as logrotate does."""
        (self.inbox / name).rename(self.inbox / to)

    def copy(self, name: str, to: str) -> None:
        """The first half of logrotate's `copytruncate`."""
        shutil.copyfile(self.inbox / name, self.inbox / to)

    def truncate(self, name: str) -> None:
        """The other half."""
        os.truncate(self.inbox / name, 0)

    # --- who takes

    def look(self) -> Look:
        """One look, of which nothing is taken."""
        return self.intake.look("logs", self.source, time.time_ns())

    def take(self) -> list[Look]:
        """Take what is there."""
        looks = []
        for look in self.intake.looks("logs", self.source, time.time_ns()):
            looks.append(look)
            taken = self.intake.take("logs", self.source, look.ready)
            if self.source.follow:
                assert all(receipt.duplicate_of is None for receipt in taken.receipts)
        return looks

    def rows(self) -> list[DeliveryRow]:
        """The ledger's."""
        return self.ledger.deliveries(list(DeliveryState))

    @property
    def names(self) -> list[str]:
        """Of the deliveries."""
        return [row.name for row in self.rows()]

    @property
    def pieces(self) -> list[bytes]:
        """What was taken, by delivery, without what another one took the place of."""
        rows = self.rows()
        replaced = {row.replaces for row in rows}
        return [
            self.spool.payload("logs", row.delivery_id).read_bytes()
            for row in rows
            if row.state is not DeliveryState.DUPLICATE and row.delivery_id not in replaced
        ]

    @property
    def lines(self) -> list[str]:
        """What was taken, line by line."""
        return [line for piece in self.pieces for line in piece.decode().splitlines()]
