"""What may not stand together in a watched folder's config, and of several folders."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from itertools import combinations
from typing import TYPE_CHECKING, Final

from headrace.object_place import is_object_place, object_place

if TYPE_CHECKING:
    from headrace.config_files import FileSource

_WILD: Final = re.compile(r"[*?]")
_LINE_FORMATS: Final = ("lines", "ndjson", "csv")


def check_marker(marker: str) -> None:
    """Raise `ValueError` where this cannot be the name or the suffix of a marker."""
    if not marker.strip(".") or "/" in marker or "*" in marker:
        raise ValueError(
            "expected a suffix such as `.done` (`x.csv.done` beside `x.csv`), or the name of a file"
            f" such as `_SUCCESS`, found {marker!r}"
        )


def check_watched(source: FileSource) -> None:
    """Raise `ValueError` where keys of the source contradict each other."""
    if (source.after_landing == "move") != (source.move_to is not None):
        raise ValueError('`after_landing = "move"` and `move_to` go together')
    if source.marker is not None:
        check_marker(source.marker)
    if source.follow:
        _check_followed(source)


def check_apart(sources: Mapping[str, FileSource]) -> None:
    """Raise `ValueError` where two sources would take the same file to the same stream."""
    for (name, one), (other_name, other) in combinations(sources.items(), 2):
        if one.stream != other.stream:
            continue
        if not (_holds(one, other.path) or _holds(other, one.path)):
            continue
        for pattern in one.patterns:
            both = next((p for p in other.patterns if _may_match_both(pattern, p)), None)
            if both is not None:
                raise ValueError(
                    f"{name} and {other_name} take the same files ({one.path}/{pattern} and"
                    f" {other.path}/{both}) to the same stream, where each record would be twice:"
                    " give them patterns or folders apart, or have one `ignore` the other's"
                )


def _holds(source: FileSource, path: str) -> bool:
    """Whether a source would take files of the place that another one watches."""
    if is_object_place(source.path) and is_object_place(path):
        below = object_place(path)
        return object_place(source.path).holds(below) and (
            source.recursive or object_place(source.path) == below
        )
    return not is_object_place(source.path) and not is_object_place(path) and _watches(source, path)


def _may_match_both(one: str, other: str) -> bool:
    """Whether a plain name that matches one of the patterns matches the other as well."""
    one, other = (pattern.lower().rpartition("/")[2] for pattern in (one, other))
    return fnmatchcase(_WILD.sub("x", one), other) or fnmatchcase(_WILD.sub("x", other), one)


def check_move_targets(sources: Mapping[str, FileSource]) -> None:
    """Raise `ValueError` where what is moved away would be found again by some source."""
    for name, source in sources.items():
        if source.move_to is None or is_object_place(source.move_to):
            continue
        for other_name, other in sources.items():
            if not is_object_place(other.path) and _watches(other, source.move_to):
                raise ValueError(
                    f"{name} moves files to {source.move_to}, which {other_name} watches: they"
                    " would be found again; name a folder outside, or one that `ignore` names"
                )


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


def _watches(source: FileSource, folder: str) -> bool:
    """Whether a source would take files that lie in a folder (both relative to the project)."""
    # As text: links and what is there now are not the config's business.
    below = os.path.relpath(os.path.join("/", folder), os.path.join("/", source.path))  # noqa: PTH118
    if below == ".":
        return True
    if below.split("/")[0] == "..":
        return False
    if not source.recursive:
        return False
    parts = below.lower().split("/")
    way = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    hidden = any(part.startswith(".") for part in parts)
    return not hidden and not any(
        fnmatchcase(place if "/" in pattern else place.rpartition("/")[2], pattern.lower())
        for place in way
        for pattern in source.ignore
    )
