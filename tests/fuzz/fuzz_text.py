"""Text as strangers send it: encodings, CSV, compressed streams; cut, damaged, made to burst.

A file is read or it is a rejected delivery: nothing else may come of it. What is read is read alike
from any record on, and each of its records is there.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import random
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final

import lz4.frame
from backports import zstd

from headrace.config_files import FileSource
from headrace.errors import DeliveryRejectedError
from headrace.producers.files.compression import (
    Compression,
    find_compression,
    open_decompressed,
    unpacked,
)
from headrace.producers.files.detection import detect
from headrace.producers.files.expansion_limits import ExpansionLimits
from headrace.producers.files.records import RecordBatch, read_records
from headrace.stream import Stream

RECEIVED_AT: Final = datetime(2024, 5, 6, tzinfo=UTC)
ENCODINGS: Final = (
    *("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "cp1250"),
    *("cp1251", "koi8-r", "cp437", "cp037", "shift_jis", "euc_jp", "iso2022_jp", "big5"),
    *("gb18030", "euc_kr", "hz", "utf-7"),
)
COMPRESS: Final[Mapping[Compression, Callable[[bytes], bytes]]] = {
    "gzip": gzip.compress,
    "zstd": zstd.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lz4": lz4.frame.compress,
}
PIECES: Final = (
    *(b'"', b"'", b",", b";", b"\t", b"|", b"\n", b"\r", b"\r\n", b"\\", b"#", b"sep=;\n"),
    *(b"\x00", b"\xff", b"\xfe\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\x1b$B"),
    *(b'""', b'","', b'{"a":', b"[", b"<?xml ", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\x1f\x8b"),
)
LIMITS: Final = ExpansionLimits(max_ratio=100, max_bytes=30_000_000, max_members=10, max_nesting=1)


@cache
def rows() -> list[str]:
    """Lines of a real shop's export, some of them accented."""
    folder = Path(__file__).parents[2] / "examples" / "retail" / "inbox"
    lines = next(iter(sorted(folder.glob("*.csv")))).read_text(encoding="utf-8").splitlines()
    return [*lines[:40], "1,Größe,Café “x”,3,2010-12-01,€5,,Łódź", "2,東京,Москва,,,,,", ',"a\nb",']


def mutated(data: bytes, dice: random.Random) -> bytes:
    """Bytes with a few of them changed, cut out, doubled or set in."""
    for _ in range(dice.choice((0, 1, 1, 2, 5, 20))):
        start = dice.randrange(len(data) + 1)
        end = min(len(data), start + dice.choice((0, 1, 1, 2, 10, 200)))
        data = (
            data[:start]
            + dice.choice(
                (b"", bytes([dice.randrange(256)]), dice.choice(PIECES), 2 * data[start:end])
            )
            + data[end:]
        )
    return data[: dice.randrange(len(data) + 1)] if dice.random() < 0.1 else data


def text(dice: random.Random) -> str:
    """A few lines, with one manner of line ends or several."""
    lines = [dice.choice(rows()) for _ in range(dice.randrange(12))]
    header = [rows()[0]] if dice.random() < 0.8 else []
    return "".join(line + dice.choice(("\n", "\n", "\r\n", "\r")) for line in header + lines)


def read_somehow(name: str, data: bytes, settings: Mapping[str, object]) -> None:
    """Read a file as a delivery would be, twice; raises where that contradicts itself."""
    with tempfile.TemporaryDirectory(prefix="fuzz-text-") as folder:
        path = Path(folder, "payload")
        path.write_bytes(data)
        archive = {"max_ratio": LIMITS.max_ratio, "max_bytes": LIMITS.max_bytes}
        source = FileSource.model_validate(
            {"kind": "files", "path": "x", "stream": "x", "archive": archive, **settings}
        )
        try:
            reading = detect(path, name, source, Stream())
            assert detect(path, name, source, Stream()) == reading, "another look, another reading"

            def batches(first: int) -> list[RecordBatch]:
                return list(
                    read_records(
                        path,
                        reading,
                        name=name,
                        received_at=RECEIVED_AT,
                        first_number=first,
                        scratch=Path(folder, "scratch"),
                    )
                )

            whole = [value for batch in batches(0) for value in batch.values]
            for batch in batches(0):
                if batch.errors is None:
                    for value in batch.values:
                        json.loads(value)
            first = len(whole) // 2
            rest = [value for batch in batches(first) for value in batch.values]
            assert rest == whole[first:], f"read on from {first} it is another file"
        except DeliveryRejectedError:
            return


def encodings(dice: random.Random) -> None:
    """Text in an encoding, declared, wrongly declared or not at all."""
    encoding = dice.choice(ENCODINGS)
    data = mutated(text(dice).encode(encoding, errors="replace"), dice)
    declared = dice.choice((None, encoding, dice.choice(ENCODINGS)))
    settings: dict[str, object] = {} if declared is None else {"encoding": declared}
    settings["format"] = dice.choice(("csv", "csv", "ndjson", "lines", None))
    read_somehow(dice.choice(("a.csv", "a.json", "a.txt")), data, settings)


def csv(dice: random.Random) -> None:
    """UTF-8 CSV, with options that fit or not."""
    options: dict[str, object] = {}
    if dice.random() < 0.3:
        options["delimiter"] = dice.choice((",", ";", "\t", "||", " ", "«"))
    if dice.random() < 0.3:
        options["quote"] = dice.choice(('"', "'", "", "«"))
    if dice.random() < 0.2:
        options["escape"] = dice.choice(("\\", '"', ""))
    for key in ("quote", "escape"):  # which a config refuses where it is in the delimiter
        if options.get(key) and str(options[key]) in str(options.get("delimiter")):
            del options[key]
    if dice.random() < 0.2:
        options["header"] = dice.random() < 0.5
    if dice.random() < 0.2:
        options["skip_lines"] = dice.randrange(4)
    if dice.random() < 0.2:
        options["columns"] = [f"c{n}" for n in range(dice.randrange(1, 10))]
    read_somehow("a.csv", mutated(text(dice).encode(), dice), {"csv": options})


def compressed(dice: random.Random) -> None:
    """Compressed text whose bytes are damaged, cut, or behind each other."""
    kind = dice.choice(list(COMPRESS))
    members = [COMPRESS[kind](text(dice).encode()) for _ in range(dice.choice((1, 1, 2, 3)))]
    data = mutated(b"".join(members), dice)
    if dice.random() < 0.2:
        data = data[: dice.randrange(len(data) + 1)]
    read_somehow(f"a.csv.{kind}", data, {})


def bombs(dice: random.Random) -> None:
    """Little that becomes much: it is stopped at the limit, and never held in memory."""
    kind = dice.choice(list(COMPRESS))
    data = _bombs(kind) * dice.choice((1, 1, 3))
    data = mutated(data, dice) if dice.random() < 0.5 else data
    if find_compression(data[:4_096]) != kind:
        return
    with tempfile.TemporaryDirectory(prefix="fuzz-text-") as folder:
        path = Path(folder, "bomb")
        path.write_bytes(data)
        with suppress(DeliveryRejectedError):
            assert sum(map(len, unpacked(path, kind, LIMITS, "bomb"))) <= LIMITS.max_bytes
        read = 0
        with suppress(DeliveryRejectedError), open_decompressed(path, kind, LIMITS) as file:
            while chunk := file.read(100_000):
                read += len(chunk)
        assert read <= LIMITS.max_bytes, read


@cache
def _bombs(kind: Compression) -> bytes:
    return COMPRESS[kind](bytes(40_000_000))


def targets() -> dict[str, Callable[[random.Random], None]]:
    """What `make fuzz` runs."""
    return {"encodings": encodings, "csv": csv, "compressed": compressed, "bombs": bombs}
