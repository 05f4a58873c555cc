"""`[sources.<name>]` with `kind = "files"`: a watched folder, and how its files are read."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import Field, field_validator, model_validator

from headrace.config_objects import check_objects
from headrace.config_pages import JmesPath
from headrace.config_section import Section, check_name, check_names
from headrace.config_watched import check_patterns, check_watched
from headrace.encodings import encoding_name
from headrace.units import Bytes, Seconds

FileFormat = Literal["csv", "ndjson", "json", "parquet", "avro", "excel", "xml", "lines"]


class CsvOptions(Section):
    """How the CSV files of a source are written; what is left out is found from a sample."""

    delimiter: Annotated[
        str | None, Field(min_length=1, max_length=4, description="between two fields")
    ] = None
    quote: Annotated[
        str | None, Field(max_length=1, description='around a field; "": none is used')
    ] = None
    escape: Annotated[
        str | None, Field(max_length=1, description="before a quote inside a quoted field")
    ] = None
    header: Annotated[bool | None, Field(description="whether the first line names columns")] = None
    columns: Annotated[tuple[str, ...], Field(description="names where there is no header")] = ()
    skip_lines: Annotated[
        int | None, Field(ge=0, description="lines before the header or the first row")
    ] = None

    @model_validator(mode="after")
    def _told_apart(self) -> CsvOptions:
        for key, sign in (("quote", self.quote), ("escape", self.escape)):
            if sign and self.delimiter and sign in self.delimiter:
                raise ValueError(f"`delimiter` and `{key}` are the same: {sign!r}")
        for key in ("delimiter", "quote", "escape"):
            if set(getattr(self, key) or "") & set("\r\n"):
                raise ValueError(f"`{key}` cannot be the end of a line")
        return self


class JsonOptions(Section):
    """Where the records of a JSON document stand; left out, it is an array of them, or one."""

    records: Annotated[
        JmesPath | None,
        Field(description="JMESPath to the records, such as `features` or `data.items`"),
    ] = None
    parallel: Annotated[
        str | None,
        Field(description="path to an object of arrays of equal length: a record per index"),
    ] = None

    _check_parallel = field_validator("parallel")(check_names)

    @model_validator(mode="after")
    def _one_of_both(self) -> JsonOptions:
        if self.records is not None and self.parallel is not None:
            raise ValueError("`records` and `parallel` exclude each other: set one")
        return self


class ExcelOptions(Section):
    """Which cells of a workbook are records."""

    sheet: Annotated[
        str | None, Field(description="its name; left out, the first that is shown")
    ] = None
    header_row: Annotated[
        int | None, Field(ge=1, description="the row that names columns; left out, it is found")
    ] = None


class XmlOptions(Section):
    """Which elements of an XML document are records."""

    records: Annotated[
        str | None, Field(description="path to them from the root, such as `/orders/order`")
    ] = None

    @field_validator("records")
    @classmethod
    def _from_the_root(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith("/"):
            raise ValueError("expected a path such as /orders/order or //order")
        return value


# What headrace.producers.files.line_patterns ships.
LINE_PATTERNS: Final = ("apache_common", "apache_combined", "nginx_combined")


class LinesOptions(Section):
    """How a line of plain text becomes a record."""

    pattern: Annotated[
        str | None,
        Field(
            description="a regular expression whose named groups are the fields, or the name of a"
            " shipped one: `apache_common`, `apache_combined`, `nginx_combined`"
        ),
    ] = None

    @field_validator("pattern")
    @classmethod
    def _has_groups(cls, value: str | None) -> str | None:
        if value is None or value in LINE_PATTERNS:
            return value
        known = f"one of {', '.join(LINE_PATTERNS)}, or a regular expression with named groups"
        try:
            named = re.compile(value).groupindex
        except re.error as error:
            raise ValueError(f"expected {known}; {value!r} is none: {error}") from None
        if not named:
            raise ValueError(f"expected {known} such as (?P<level>[A-Z]+)")
        return value


class ArchiveOptions(Section):
    """Limits on what an archive or a compressed file may become."""

    max_ratio: Annotated[float, Field(gt=1, description="bytes unpacked for each packed one")] = (
        1_000.0
    )
    max_bytes: Annotated[Bytes, Field(ge=1, description="of all that is unpacked")] = (
        100_000_000_000
    )
    max_members: Annotated[int, Field(ge=1, description="files in it")] = 100_000
    max_nesting: Annotated[int, Field(ge=0, description="archives within archives")] = 2


class FileSource(Section):
    """`[sources.<name>]` with `kind = "files"`: a watched folder."""

    kind: Annotated[Literal["files"], Field(description="a watched folder")]
    path: Annotated[
        str, Field(description="a folder, relative to the project, or s3://bucket/prefix")
    ]
    options: Annotated[
        dict[str, str], Field(description="storage options for s3, as delta-rs names them")
    ] = Field(default_factory=dict)
    stream: Annotated[str, Field(description="where its records go")]
    patterns: Annotated[
        tuple[str, ...],
        Field(min_length=1, description="names of the files to take"),
    ] = (
        "*.csv",
        "*.tsv",
        "*.ndjson",
        "*.jsonl",
        "*.json",
        "*.geojson",
        "*.parquet",
        "*.avro",
        "*.xlsx",
        "*.xls",
        "*.ods",
        "*.xml",
        "*.gz",
        "*.zst",
        "*.bz2",
        "*.xz",
        "*.lz4",
        "*.zip",
        "*.tar",
        "*.tgz",
    )
    ignore: Annotated[
        tuple[str, ...],
        Field(description="names of files and folders to pass over, beside hidden and unfinished"),
    ] = ()
    recursive: Annotated[bool, Field(description="look into the folders below as well")] = True
    settle: Annotated[
        Seconds,
        Field(ge=0, description="a file unchanged for so long, or renamed into place, is complete"),
    ] = 2.0
    marker: Annotated[
        str | None,
        Field(
            description="what says that a file is complete: a suffix such as `.done` (`x.csv.done`"
            " beside `x.csv`), or a name such as `_SUCCESS` in its folder"
        ),
    ] = None
    watch: Annotated[
        Literal["auto", "events", "polling"],
        Field(
            description="how `up` hears of new files: by the system's events, or by looking each"
            " second; auto: events, and polling where they stay silent (network folders)"
        ),
    ] = "auto"
    every: Annotated[
        Seconds | None,
        Field(ge=1, description="look on this schedule (Dagster's) instead of watching"),
    ] = None
    listing: Annotated[
        Literal["whole", "ordered"],
        Field(
            description="of s3: each look lists all, or (where new names are always greater than"
            " all before) goes on behind the last"
        ),
    ] = "whole"
    identity: Annotated[
        Literal["content", "name+content"],
        Field(
            description="what tells deliveries apart: equal files are one, or, where names matter"
            " too, two"
        ),
    ] = "content"
    follow: Annotated[
        bool,
        Field(
            description="files grow: only the new complete lines are taken; `settle` is for how"
            " long lines are gathered into one delivery, under `up`"
        ),
    ] = False
    after_landing: Annotated[
        Literal["keep", "move", "delete"],
        Field(description="what becomes of a file once its records are in bronze"),
    ] = "keep"
    move_to: Annotated[
        str | None,
        Field(description="where to, relative to the project, or s3://bucket/prefix; not watched"),
    ] = None
    format: Annotated[FileFormat | None, Field(description="found from name and content")] = None
    encoding: Annotated[
        str | None, Field(description="of text, such as utf-8, cp1252 or shift_jis; else found")
    ] = None
    max_bad_share: Annotated[
        float | None,
        Field(
            ge=0,
            le=1,
            description="reject a delivery whole where more of its records cannot be read",
        ),
    ] = None
    csv: Annotated[CsvOptions, Field(description="how its CSV files are written")] = CsvOptions()
    json_: Annotated[
        JsonOptions, Field(alias="json", description="where records stand in JSON")
    ] = JsonOptions()
    excel: Annotated[ExcelOptions, Field(description="which cells are records")] = ExcelOptions()
    xml: Annotated[XmlOptions, Field(description="which elements are records")] = XmlOptions()
    lines: Annotated[LinesOptions, Field(description="how a line is read")] = LinesOptions()
    archive: Annotated[
        ArchiveOptions, Field(description="limits on archives and compressed files")
    ] = ArchiveOptions()

    _check_stream = field_validator("stream")(check_name)
    _check_patterns = field_validator("patterns")(check_patterns)

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str | None) -> str | None:
        if value is not None and encoding_name(value) is None:
            raise ValueError("expected the name of a text encoding that Python knows")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> FileSource:
        check_objects(self)
        check_watched(self)
        return self
