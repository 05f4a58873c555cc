"""What may not stand together in a watched folder's config, and of several folders."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Callable, Mapping
from itertools import combinations
from pathlib import PurePath
from typing import TYPE_CHECKING, Final, TypeAlias

from headrace.name_overlap import LOCK, UNFINISHED, NameRules, name_of_both
from headrace.object_place import is_object_place, object_place

if TYPE_CHECKING:
    from headrace.config_files import FileSource

Where: TypeAlias = Callable[[str], str]
"""Where a folder of the project is: an absolute path without `..`, and links where told so."""

# As fnmatch reads them: a `]` at once in a set is of the set.
_CLOSED_SET: Final = re.compile(r"\[!?+\]?+[^\]]*+\]")
_LINE_FORMATS: Final = ("lines", "ndjson", "csv")


def check_marker(marker: str) -> None:
    """Raise `ValueError` where this cannot be the name or the suffix of a marker."""
    if not marker.strip(".") or "/" in marker or "*" in marker:
        raise ValueError(
            "expected a suffix such as `.done` (`x.csv.done` beside `x.csv`), or the name of a file"
            f" such as `_SUCCESS`, found {marker!r}"
        )


def check_patterns(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """The patterns; raises `ValueError` where no file has a name that one would take."""
    for pattern in patterns:
        _check_pattern(pattern)
    return patterns


def _check_pattern(pattern: str) -> None:
    parts = pattern.removeprefix("./").split("/")
    own = parts[-1]
    why = None
    if not pattern:
        why = "it is empty"
    elif pattern.startswith("/"):
        why = "names are relative to the source's folder"
    elif ".." in parts:
        why = "nothing outside the source's folder is taken"
    elif not own:
        why = f"it names a folder; what is in it matches {pattern}*"
    elif "" in parts:
        why = "no folder has an empty name"
    elif any(part.startswith(".") for part in parts):
        why = "names that begin with a dot are never taken"
        if pattern == own:
            why += f"; did you mean *{pattern}?"
    elif own.lower().endswith(UNFINISHED):
        why = f"unfinished files are never taken: {', '.join(UNFINISHED)}"
    elif own.startswith(LOCK):
        why = "the lock files of open workbooks are never taken"
    elif "[" in _CLOSED_SET.sub("", pattern):
        why = "its [ has no ]; the character itself is [[]"
    if why is not None:
        raise ValueError(f"no file can match {pattern!r}: {why}")


def check_watched(source: FileSource) -> None:
    """Raise `ValueError` where keys of the source contradict each other."""
    if (source.after_landing == "move") != (source.move_to is not None):
        raise ValueError('`after_landing = "move"` and `move_to` go together')
    if not source.recursive:
        for pattern in source.patterns:
            if "/" in pattern.removeprefix("./"):
                raise ValueError(
                    f"no file can match {pattern!r} of `patterns`: with `recursive = false` folders"
                    " below are not looked into"
                )
    if source.marker is not None:
        check_marker(source.marker)
    if source.follow:
        _check_followed(source)


def as_text(folder: str) -> str:
    """Where a folder is as far as its path says, whatever links there are."""
    return os.path.normpath(os.path.join("/", folder))  # noqa: PTH118


def check_apart(sources: Mapping[str, FileSource], where: Where = as_text) -> None:
    """Raise `ValueError` where two sources would take the same file to the same stream."""
    for (name, one), (other_name, other) in combinations(sources.items(), 2):
        if one.stream != other.stream:
            continue
        for outer, inner in ((one, other), (other, one)):
            below = _below(outer.path, inner.path, where)
            both = None
            if below is not None:
                both = name_of_both(NameRules.of(outer), NameRules.of(inner), below)
            if below is None or both is None:
                continue
            patterns = {
                id(outer): _pattern_of(outer, f"{below}/{both}" if below else both),
                id(inner): _pattern_of(inner, both),
            }
            raise ValueError(
                f"{name} and {other_name} take the same files ({one.path}/{patterns[id(one)]} and"
                f" {other.path}/{patterns[id(other)]}), such as {inner.path}/{both}, to the same"
                f" stream {one.stream}, where each record would be twice: give them patterns or"
                " folders apart, or have one `ignore` the other's"
            )


def check_move_targets(sources: Mapping[str, FileSource], where: Where = as_text) -> None:
    """Raise `ValueError` where what is moved away would be found again by some source."""
    for name, source in sources.items():
        if source.move_to is None or is_object_place(source.move_to):
            continue
        for other_name, other in sources.items():
            below = _below(other.path, source.move_to, where)
            if below is not None and NameRules.of(other).entered(below):
                raise ValueError(
                    f"{name} moves files to {source.move_to}, which {other_name} watches: they"
                    " would be found again; name a folder outside, or one that `ignore` names"
                )


def _below(path: str, other: str, where: Where) -> str | None:
    """Where the other place is in this one: `a/b`, empty where it is the same; None: outside."""
    if is_object_place(path) or is_object_place(other):
        if not (is_object_place(path) and is_object_place(other)):
            return None
        holds, held = object_place(path), object_place(other)
        return held.prefix[len(holds.prefix) :].rstrip("/") if holds.holds(held) else None
    holder, below = PurePath(where(path)), PurePath(where(other))
    if not below.is_relative_to(holder):
        return None
    return "/".join(below.relative_to(holder).parts)


def _pattern_of(source: FileSource, name: str) -> str:
    """That of the source's patterns by which it takes a name."""
    return next(one for one in source.patterns if NameRules([one]).take(name))


def _check_followed(source: FileSource) -> None:
    if source.format not in _LINE_FORMATS:
        raise ValueError(
            "`follow = true` takes the lines of a file piece by piece, so `format` has to say what"
            f' they are: "lines", "ndjson" or "csv"; found {source.format or "none"}'
        )
    if source.format == "lines" and source.lines.pattern is None:
        raise ValueError(
            "`follow = true` with lines: say how all of them are read, such as `lines = { pattern ="
            ' "apache_combined" }`, or "(?P<line>.*)" for whole lines: no piece can say it for the'
            " others"
        )
    if source.format == "csv" and source.csv.header is None:
        raise ValueError(
            "`follow = true` with CSV: say whether a file begins with a header,"
            " `csv = { header = true }`: that line stands before every piece then"
        )
    for key, found, expected in (
        ("after_landing", source.after_landing, "keep"),
        ("marker", source.marker, None),
        ("identity", source.identity, "content"),
    ):
        if found != expected:
            raise ValueError(
                f"`follow = true` and `{key}` do not go together: a followed file is never complete"
            )
    if source.encoding is not None and codecs.lookup(source.encoding).name.startswith(
        ("utf-16", "utf-32")
    ):
        raise ValueError(
            f"`follow = true` needs an encoding with one-byte line ends, found {source.encoding}"
        )
