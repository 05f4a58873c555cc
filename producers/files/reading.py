"""How a delivery is read: decided once, at its first look, and frozen with it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final, Literal

from headrace.producers.files.csv.grammar import Dialect

if TYPE_CHECKING:
    from headrace.config_files import FileFormat
    from headrace.producers.files.compression import Compression

# Raised when the same bytes and the same reading would give other records or numbers than before.
READER_VERSION: Final = 1


@dataclass(frozen=True)
class Reading:
    """Everything the records of a delivery depend on beside its bytes, name and arrival.

    `columns`, `delimiter`, `quote`, `escape`, `newline`, `header` and `skip_lines` are for CSV,
    `newline` also for NDJSON (`"\\r"`: a return ends a line too), `records_path` and `parallel` for
    JSON (JMESPath) and XML, `sheet` and `header_row` for workbooks, `pattern` for lines of text,
    `call` for calls of webhooks (`CallReading` of headrace.producers.webhook as JSON). `encoding`
    is Python's name of it. For people: `notes` say what was guessed, `path_table` is what `records`
    and `parallel` stand in in the config.
    """

    format: FileFormat
    encoding: str = "utf-8"
    delimiter: str = ","
    quote: str = '"'
    escape: str = '"'
    newline: str = "\n"
    header: bool = True
    columns: tuple[str, ...] = ()
    skip_lines: int = 0
    compression: Compression | None = None
    records_path: str | None = None
    parallel: str | None = None
    sheet: str | None = None
    header_row: int | None = None
    pattern: str | None = None
    call: str | None = None
    event_time_from: Literal["column", "filename", "arrival"] = "arrival"
    event_time_column: str | None = None
    event_time_format: str | None = None
    event_time_pattern: str | None = None
    timezone: str = "UTC"
    reader_version: int = READER_VERSION
    notes: tuple[str, ...] = ()
    path_table: Literal["json.", ""] = "json."

    @property
    def dialect(self) -> Dialect:
        """How rows of CSV are written."""
        return Dialect(self.delimiter, self.quote, self.escape, self.newline)

    def to_json(self) -> str:
        """As text, to lie beside the delivery's bytes."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Reading:
        """What `to_json` wrote. Raises ValueError where it was not this version's."""
        fields = json.loads(text)
        version = fields.get("reader_version") if isinstance(fields, dict) else None
        if version != READER_VERSION:
            raise ValueError(f"expected a reading of version {READER_VERSION}, found {version!r}")
        for name in ("columns", "notes"):
            fields[name] = tuple(fields[name])
        return cls(**fields)
