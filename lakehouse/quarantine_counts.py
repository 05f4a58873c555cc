"""How many quarantined records broke which rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headrace.lakehouse.broken_rules import OTHER, SHAPE_REPLACEMENTS, BrokenRules
from headrace.lakehouse.delta import quote_identifier, quote_literal
from headrace.lakehouse.duck import duck_errors, open_duck
from headrace.lakehouse.query import Catalog
from headrace.lakehouse.table_heads import Head, TableHeads
from headrace.lakehouse.table_refs import TableRef
from headrace.lakehouse.views import ViewSource, mount_view

# Rules broken together make few; texts nobody foresaw could make as many as there are records.
_MAX_SHAPES: Final = 10_000
_MEMORY_BYTES: Final = 256_000_000


@dataclass(frozen=True, slots=True)
class _Known:
    """A stream's counts, silver's head they were last compared with, and the files they are of."""

    head: Head | None
    files: frozenset[str]
    counts: Mapping[str, int]


class QuarantineCounts:
    """Counts a catalog's quarantine by rule; each stream again only where its quarantine changed.

    One thread at a time; make another one where the catalog changed.
    """

    def __init__(self, catalog: Catalog, scratch: Path) -> None:
        self._catalog = catalog
        self._scratch = scratch
        self._rules = {name: BrokenRules(contract) for name, contract in catalog.contracts.items()}
        self._heads = TableHeads(catalog.lake, [TableRef("silver", name) for name in self._rules])
        self._known: dict[str, _Known] = {}

    def read(self) -> dict[tuple[str, str], int]:
        """Records by stream and rule; every rule of every contract is there, if only with 0.

        A record that broke several counts under each. Raises `LakeError`.
        """
        heads = self._heads.look()
        return {
            (stream, rule): count
            for stream in self._rules
            for rule, count in self._of(stream, heads.get(TableRef("silver", stream))).items()
        }

    def _of(self, stream: str, head: Head | None) -> Mapping[str, int]:
        known = self._known.get(stream)
        if known is None or known.head != head:
            source = self._catalog.open(TableRef("quarantine", stream))
            files = frozenset(file.path for file in source.files())
            is_same = known is not None and known.files == files
            counts = known.counts if known and is_same else self._count(stream, source)
            known = self._known[stream] = _Known(head, files, counts)
        return known.counts

    def _count(self, stream: str, source: ViewSource) -> Mapping[str, int]:
        rules = self._rules[stream]
        counts: Counter[str] = Counter(dict.fromkeys(rules.names, 0))
        if not source.files():
            return counts
        for shape, records in _shapes(source, self._scratch):
            for rule in {OTHER} if shape is None else rules.of(shape):
                counts[rule] += records
        return counts


def _shapes(source: ViewSource, scratch: Path) -> list[tuple[str | None, int]]:
    """Reasons without what they quote, and how many records have each; None: all rarer ones."""
    shape = "reason"
    for pattern, replacement in SHAPE_REPLACEMENTS:
        shape = (
            f"regexp_replace({shape}, {quote_literal(pattern)}, {quote_literal(replacement)}, 'g')"
        )
    name = f"quarantine.{quote_identifier(source.ref.name)}"
    with (
        duck_errors(str(source.ref)),
        open_duck(scratch, memory_bytes=_MEMORY_BYTES) as duck,
    ):
        mount_view(duck, source, columns_read={"reason"})
        rows = duck.execute(
            f"WITH shapes AS (SELECT {shape} AS shape, count(*) AS records FROM {name} GROUP BY 1),"  # noqa: S608
            " ranked AS (SELECT *, row_number() OVER (ORDER BY records DESC, shape) AS rank"
            " FROM shapes)"
            f" SELECT CASE WHEN rank <= {_MAX_SHAPES} THEN shape END, sum(records)::BIGINT"
            " FROM ranked GROUP BY 1"
        ).fetchall()
    return [(shape, int(records)) for shape, records in rows]
