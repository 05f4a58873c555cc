"""Ids of records counted from the source's own bytes and the lake's own files.

Nothing here goes through headrace's code: Python's csv module reads the sources, pyarrow the
tables' active files as the Delta log lists them.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from deltalake import DeltaTable, QueryBuilder

Id = tuple[str, int]


def expected_ids(files: Iterable[Path]) -> Counter[Id]:
    """(first 12 digits of the content's SHA-256, record number) of every CSV record."""
    ids: Counter[Id] = Counter()
    for path in files:
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()[:12]
        rows = sum(1 for _ in csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))) - 1
        ids.update((digest, number) for number in range(rows))
    return ids


def table_ids(table: Path, column: str) -> Counter[Id]:
    """The same, from the event ids (`<time>-<hash>:<number>`) in a table's column."""
    reader = (
        QueryBuilder()
        .register("t", DeltaTable(str(table)))
        .execute(f'SELECT "{column}" AS id FROM t')
    )
    ids: Counter[Id] = Counter()
    for batch in reader:
        for text in batch["id"].to_pylist():
            delivery, _, number = text.rpartition(":")
            ids[delivery.rpartition("-")[2], int(number)] += 1
    return ids


def differences(expected: Counter[Id], found: Counter[Id]) -> tuple[int, int]:
    """How many ids are lost, and how many are there more often than they should be."""
    return (expected - found).total(), (found - expected).total()
