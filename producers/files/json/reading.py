"""The records of JSON files: whole values, those at a path, or those made out of documents."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO, Final

from jmespath.parser import ParsedResult

from headrace.errors import DeliveryRejectedError
from headrace.producers.files.json.documents import (
    compile_expression,
    cut_documents,
    dump_exactly,
    load_exactly,
    parallel_records,
    search,
)
from headrace.producers.files.json.place import PlacedByLine, PlacedRecords, parse_place
from headrace.producers.files.json.records import Piece, cut_lines, parse_record
from headrace.producers.files.json.values import cut_values
from headrace.producers.files.reading import Reading

# A document held whole takes ten to twenty times its size.
MAX_DOCUMENT_BYTES: Final = 32_000_000

# Of a document so much stands for a record of it that cannot be written.
_SHOWN_BYTES: Final = 10_000

_TakeApart = Callable[[object], Iterator[Mapping[str, object]]]


def json_pieces(file: BinaryIO, reading: Reading, name: str) -> Iterator[Piece]:
    """The records of UTF-8 text, and what should be one and is none.

    One made out of a document has that document's place in the file. Raises
    `DeliveryRejectedError` where the paths of the reading lead nowhere in any document.
    """
    by_line = reading.format == "ndjson"
    if reading.parallel is not None:
        documents = cut_lines(file) if by_line else cut_values(file)
        steps = _parallel_place(reading.parallel)
        yield from _made(documents, lambda value: parallel_records(value, steps), name, reading)
        return
    place = parse_place(reading.records_path or "@")
    if place is None:
        expression = compile_expression(reading.records_path or "@")
        documents = cut_lines(file) if by_line else cut_documents(file)
        yield from _made(documents, lambda value: _searched(expression, value), name, reading)
    elif place:
        yield from _placed((PlacedByLine if by_line else PlacedRecords)(file, place), name, reading)
    else:
        yield from cut_lines(file) if by_line else cut_values(file)


def check_paths(reading: Reading) -> None:
    """Raise ValueError where the paths of a reading are none."""
    if reading.records_path is not None:
        compile_expression(reading.records_path)
    if reading.parallel is not None:
        _parallel_place(reading.parallel)


def _placed(placed: PlacedRecords | PlacedByLine, name: str, reading: Reading) -> Iterator[Piece]:
    """Records at a place; a file in which nothing has it is another file than was declared."""
    first: Piece | None = None
    for piece in placed:
        first = first or piece
        yield piece
    if first is not None and not placed.found:
        raise _nothing_found(name, first.line, parse_record(first)[1], reading)


def _nothing_found(name: str, line: int, problem: str, reading: Reading) -> DeliveryRejectedError:
    key = f"{reading.path_table}{'records' if reading.parallel is None else 'parallel'}"
    sent = "the file" if reading.path_table else "what is sent"
    return DeliveryRejectedError(
        f"{name}, line {line}: {problem}", remedy=f"correct `{key}` of the source, or {sent}"
    )


def _made(
    documents: Iterator[Piece], take_apart: _TakeApart, name: str, reading: Reading
) -> Iterator[Piece]:
    """Records made out of documents, each of which can be taken apart or is unreadable as one."""
    first: Piece | None = None
    any_good = False
    for document in documents:
        try:
            records = _records_of(document, take_apart)
        except ValueError as error:
            broken = document._replace(data=None, problem=str(error), value=None)
            first = first or broken
            yield broken
            continue
        any_good = True
        for record in records:
            try:
                yield document._replace(data=dump_exactly(record), value=record)
            except ValueError as error:  # nested too deeply to be written
                length = min(document.length, _SHOWN_BYTES)
                yield Piece(document.start, length, document.line, None, str(error))
    if first is not None and not any_good:
        raise _nothing_found(name, first.line, first.problem, reading)


def _parallel_place(path: str) -> tuple[str, ...]:
    steps = parse_place(path) or ()
    names = tuple(step for step in steps if isinstance(step, str))
    if not names or len(names) != len(steps):
        raise ValueError(f"expected a path of names such as hourly, found {path!r}")
    return names


def _records_of(document: Piece, take_apart: _TakeApart) -> Iterator[Mapping[str, object]]:
    """Raises ValueError at once where a document gives no records."""
    if document.data is None:
        raise ValueError(document.problem)
    if document.length > MAX_DOCUMENT_BYTES:
        raise ValueError(
            f"found a document of {document.length:,} bytes, of which this takes at most"
            f" {MAX_DOCUMENT_BYTES:,}, as all of it is held in memory; a path of names such as"
            " data.items has no such limit"
        )
    try:
        value = load_exactly(document.data)
    except ValueError as error:
        raise ValueError(f"not valid JSON: {error}") from error
    return take_apart(value)


def _searched(expression: ParsedResult, value: object) -> Iterator[Mapping[str, object]]:
    records = search(expression, value)
    if not all(isinstance(record, dict) for record in records):
        raise ValueError(
            f"{expression.expression} finds elements that are no JSON objects, expected objects"
        )
    return (record for record in records if isinstance(record, dict))
