"""What a watched folder's config refuses, and why."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from headrace.config import Settings
from headrace.config_files import FileSource
from headrace.name_overlap import NameRules

LINES: dict[str, Any] = {"format": "lines", "lines": {"pattern": "apache_common"}}


def settings(**sources: dict[str, Any]) -> Settings:
    """A project with these sources."""
    base = {"kind": "files", "stream": "sales", "path": "inbox"}
    return Settings.model_validate(
        {
            "project": {"name": "shop"},
            "sources": {name: base | source for name, source in sources.items()},
        }
    )


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"after_landing": "move"}, "`move_to` go together"),
        ({"move_to": "done"}, "`move_to` go together"),
        ({"marker": "."}, "expected a suffix such as"),
        ({"marker": "*.done"}, "expected a suffix such as"),
        ({"marker": "day/_SUCCESS"}, "expected a suffix such as"),
        ({"follow": True}, "`format` has to say what they are"),
        ({"follow": True, "format": "json"}, "found json"),
        ({"follow": True, "format": "lines"}, "say how all of them are read"),
        ({"follow": True, "format": "csv"}, "say whether a file begins with a header"),
        ({"follow": True, **LINES, "after_landing": "delete"}, "`after_landing` do not"),
        ({"follow": True, **LINES, "marker": ".done"}, "`marker` do not go together"),
        ({"follow": True, **LINES, "identity": "name+content"}, "`identity` do not"),
        ({"follow": True, **LINES, "encoding": "UTF16"}, "one-byte line ends"),
    ],
)
def test_what_contradicts_itself_is_refused(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        settings(sales=keys)


@pytest.mark.parametrize(
    "keys",
    [
        {"marker": ".done"},
        {"marker": "_SUCCESS"},
        {"follow": True, **LINES},
        {"follow": True, "format": "csv", "csv": {"header": True}},
        {"follow": True, "format": "ndjson", "encoding": "cp1252"},
    ],
)
def test_what_goes_together_is_taken(keys: dict[str, Any]) -> None:
    source = settings(sales=keys).sources["sales"]
    assert isinstance(source, FileSource)
    assert source.model_dump(include=set(keys), exclude_defaults=True)


@pytest.mark.parametrize(
    ("move_to", "keys", "watched"),
    [
        ("inbox", {}, True),
        ("./inbox/", {}, True),
        ("inbox/done", {}, True),
        ("other/../inbox/done", {}, True),
        ("other/done", {}, True),
        ("inbox/done", {"recursive": False}, False),
        ("inbox/done", {"ignore": ["done"]}, False),
        ("inbox/Done/2026", {"ignore": ["DONE"]}, False),
        ("inbox/a/done", {"ignore": ["a/done"]}, False),
        ("inbox/.done", {}, False),
        ("inboxes", {}, False),
        ("done", {}, False),
    ],
)
def test_files_are_not_moved_to_where_they_would_be_found_again(
    move_to: str, keys: dict[str, Any], *, watched: bool
) -> None:
    sources = {
        "sales": {"after_landing": "move", "move_to": move_to, **keys},
        "others": {"path": "other"},
    }
    if not watched:
        settings(**sources)
        return
    with pytest.raises(ValidationError, match="would be found again"):
        settings(**sources)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("", "it is empty"),
        ("[", r"its \[ has no \]"),
        ("[a].[cs", r"its \[ has no \]"),
        ("a[].csv", r"its \[ has no \]"),
        ("../*.csv", "nothing outside"),
        ("a/../*.csv", "nothing outside"),
        ("/tmp/*.csv", "relative to the source's folder"),
        ("archive/", r"what is in it matches archive/\*"),
        (".csv", r"did you mean \*\.csv\?"),
        ("a//*.csv", "empty name"),
        ("*.TMP", "unfinished files"),
        ("~$*.xlsx", "lock files"),
    ],
)
def test_a_pattern_that_no_file_can_match_is_refused(pattern: str, said: str) -> None:
    assert not NameRules([pattern]).take("a.csv")
    with pytest.raises(
        ValidationError, match=rf"sources\.sales\.[\s\S]*no file can match .*{said}"
    ):
        settings(sales={"patterns": ["*.csv", pattern]})


def test_a_pattern_of_folders_that_are_not_looked_into_is_refused() -> None:
    with pytest.raises(ValidationError, match="with `recursive = false` folders"):
        settings(sales={"patterns": ["a/*.csv"], "recursive": False})
    settings(
        sales={"patterns": ["./*.csv", "[[]x].csv", "[]].csv", "[!]a].csv"], "recursive": False}
    )
