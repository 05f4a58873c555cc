"""Known files, dropped into the folders of sources, and the ids that must come of their bytes."""

from __future__ import annotations

import csv
import hashlib
import io
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

from faults.lake_counts import Counts

SOURCES = {"tills": "sales", "web": "sales", "orders": "orders"}
"""Each source's stream."""
STREAMS = sorted(set(SOURCES.values()))

_HEADER = "id,when,amount,note\n"
_DAYS = 9
_BINARY = b"%PDF-1.7 no table at all"


@dataclass(frozen=True, slots=True)
class _Row:
    """A record as it has to arrive. `amount`: 0 where it is none."""

    cell: str
    verdict: str
    day: date
    amount: int


@dataclass(frozen=True, slots=True)
class _Content:
    """A file's records, and the hash of its bytes."""

    digest: str
    rows: Sequence[_Row]


@cache  # a file does not change
def _content(path: Path) -> _Content | None:
    """None for a file that holds no records, and is rejected."""
    data = path.read_bytes()
    if data == _BINARY:
        return None
    table = csv.reader(io.StringIO(data.decode(), newline=""))
    next(table)
    rows = [
        _Row(
            cell=cells[0],
            verdict="ok" if len(cells) == 4 and cells[2].isdigit() else "quarantined",
            day=date.fromisoformat(cells[1][:10]),
            amount=int(cells[2]) if cells[2].isdigit() else 0,
        )
        for cells in table
    ]
    return _Content(hashlib.sha256(data).hexdigest(), rows)


class SourceFiles:
    """The inboxes below `root`: what is dropped there, and what is expected of it."""

    def __init__(self, root: Path, dice: random.Random) -> None:
        self._root = root
        self._dice = dice
        self._number = 0
        self.revoked: set[tuple[str, str]] = set()
        """Source and content hash of what was taken back out."""
        for source in SOURCES:
            (root / source).mkdir(parents=True, exist_ok=True)

    def drop(self, *, rows: int | None = None) -> None:
        """A new file, renamed into place; now and then a repetition of one that is there."""
        dice = self._dice
        self._number += 1
        source = dice.choice(list(SOURCES))
        chance = dice.random()
        if chance < 0.06 and (there := self._files()):
            # Under another name it is a duplicate; of another source a delivery of its own.
            data = dice.choice(there).read_bytes()
        elif chance < 0.09:
            data = _BINARY  # rejected
        else:
            data = self._rows(rows or self._draw_rows())
        target = self._root / source / f"{self._number:06}.csv"
        draft = target.with_suffix(".tmp")
        draft.write_bytes(data)
        draft.rename(target)

    def expected(self) -> Counts:
        """What the lake has to hold, counted from the files' bytes."""
        counts = Counts()
        days: dict[date, list[int]] = {}
        seen = set(self.revoked)
        for path in self._files():
            content = _content(path)
            if content is None or (path.parent.name, content.digest) in seen:
                continue
            source = path.parent.name
            seen.add((source, content.digest))
            for number, row in enumerate(content.rows):
                counts.bronze_ids[content.digest[:12], number] += 1
                counts.bronze[source, row.cell] += 1
                counts.silver[SOURCES[source], row.verdict, row.cell] += 1
                if row.verdict == "ok" and SOURCES[source] == "sales":
                    days.setdefault(row.day, []).append(row.amount)
        counts.silver_ids = counts.bronze_ids
        counts.gold = frozenset((day, len(a), sum(a)) for day, a in days.items())
        return counts

    @property
    def dropped(self) -> int:
        """How many files there are."""
        return len(self._files())

    def _files(self) -> list[Path]:
        return sorted(path for source in SOURCES for path in (self._root / source).glob("*.csv"))

    def _draw_rows(self) -> int:
        # A large one now and then, so that something is killed in the middle of it.
        return (
            self._dice.randint(2_000, 6_000)
            if self._dice.random() < 0.05
            else self._dice.randint(1, 60)
        )

    def _rows(self, count: int) -> bytes:
        dice = self._dice
        lines = [_HEADER]
        for row in range(count):
            day = dice.randint(1, _DAYS)
            amount = str(dice.randint(1, 999)) if dice.random() > 0.03 else "much"  # quarantined
            note = '"two\nlines"' if dice.random() < 0.02 else "x"
            # A field too many: it cannot be read, and counts as a record all the same. Not the
            # first row: a file that has none but such rows is rejected.
            more = ",too,many" if dice.random() < 0.01 and row else ""
            lines.append(f"{self._number}-{row},2024-03-{day:02}T10:00:00,{amount},{note}{more}\n")
        return "".join(lines).encode()
