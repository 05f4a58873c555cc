"""A project's inbox, ledger and spool, without a topic behind them."""

from __future__ import annotations

import time
from pathlib import Path

from headrace.config_files import FileSource
from headrace.producers.delivery import DeliveryRow, DeliveryState
from headrace.producers.folders.intake import Intake, Look, Taken
from headrace.producers.ledger.ledger import Ledger
from headrace.producers.receiving import Receiving
from headrace.producers.reconcile import reconcile
from headrace.producers.retries import Retries
from headrace.producers.spool.spool import Spool
from support.deliveries import BEGAN

SOURCE = FileSource(kind="files", path="inbox", stream="sales", settle=0)


class IntakeProject:
    """A project's inbox, ledger and spool, with a clock of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.inbox = root / "inbox"
        self.inbox.mkdir(parents=True, exist_ok=True)
        self.now = BEGAN
        self.spool = Spool(root / "spool")
        self.ledger = Ledger(root / "ledger.db")
        reconcile(self.ledger, self.spool)
        self.receiving = Receiving(self.ledger, self.spool, lambda: self.now)
        self.intake = Intake(root, self.ledger, self.spool, self.receiving)
        self.retries = Retries(root, self.ledger, self.spool)

    def drop(self, name: str, content: str | bytes) -> Path:
        path = self.inbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def look(self, source: FileSource = SOURCE) -> Look:
        return self.intake.look("sales", source, time.time_ns())

    def take(self, source: FileSource = SOURCE) -> Taken:
        return self.intake.take("sales", source, self.look(source).ready)

    def rows(self) -> list[DeliveryRow]:
        return self.ledger.deliveries(list(DeliveryState))

    def states(self) -> list[tuple[str, str]]:
        return [(row.name, row.state.value) for row in self.rows()]

    def restart(self) -> IntakeProject:
        self.ledger.close()
        return IntakeProject(self.root)
