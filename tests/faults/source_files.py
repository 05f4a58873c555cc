"""Known files, dropped into the folders of sources, and the ids that must come of their bytes."""

from __future__ import annotations

import csv
import hashlib
import io
import random
from collections import Counter
from pathlib import Path

from support.source_ids import Id

SOURCES = {"tills": "sales", "web": "sales", "orders": "orders"}
"""Each source's stream."""

_HEADER = "id,when,amount,note\n"
_DAYS = 9


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
            data = b"\x00\x01 no table at all"  # rejected
        else:
            data = self._rows(rows or self._draw_rows())
        target = self._root / source / f"{self._number:06}.csv"
        draft = target.with_suffix(".tmp")
        draft.write_bytes(data)
        draft.rename(target)

    def expected(self) -> Counter[Id]:
        """(digits of the content's hash, record number), counted from the files' bytes."""
        contents: dict[tuple[str, str], int] = {}
        for source in SOURCES:
            for path in (self._root / source).glob("*.csv"):
                data = path.read_bytes()
                if data.startswith(b"\x00"):
                    continue
                digest = hashlib.sha256(data).hexdigest()
                if (source, digest) in contents or (source, digest) in self.revoked:
                    continue
                text = io.StringIO(data.decode(), newline="")
                contents[source, digest] = sum(1 for _ in csv.reader(text)) - 1
        ids: Counter[Id] = Counter()
        for (_, digest), rows in contents.items():
            ids.update((digest[:12], number) for number in range(rows))
        return ids

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
            # A field too many: it cannot be read, and counts as a record all the same.
            more = ",too,many" if dice.random() < 0.01 else ""
            lines.append(f"{self._number}-{row},2024-03-{day:02}T10:00:00,{amount},{note}{more}\n")
        return "".join(lines).encode()
