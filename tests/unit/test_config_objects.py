"""A prefix of an object store takes the keys that make sense for it, and says so of others."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from headrace.config_file import load_config
from headrace.config_files import FileSource
from headrace.errors import ConfigError


def source(**keys: object) -> FileSource:
    return FileSource.model_validate(
        {"kind": "files", "stream": "sales", "path": "s3://bucket/in", **keys}
    )


def test_a_prefix_is_a_source() -> None:
    made = source(
        options={"aws_region": "eu-west-1"},
        listing="ordered",
        after_landing="move",
        move_to="s3://bucket/done",
    )
    assert (made.path, made.move_to) == ("s3://bucket/in", "s3://bucket/done")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"path": "s3://"}, "expected s3://bucket/prefix"),
        ({"options": {"aws_secret": "x"}}, "unknown storage option 'aws_secret'"),
        ({"follow": True}, "`follow = true` is for folders"),
        ({"watch": "events"}, '`watch = "events"` is for folders'),
        ({"listing": "ordered", "marker": "_SUCCESS"}, "do not go together"),
        ({"after_landing": "move", "move_to": "done"}, "is a prefix too"),
        ({"after_landing": "move", "move_to": "s3://bucket/in/done"}, "would be found again"),
        ({"path": "inbox", "options": {"aws_region": "x"}}, "`options` are for a path such as s3"),
        ({"path": "inbox", "listing": "ordered"}, "is for a path such as s3"),
        ({"path": "inbox", "after_landing": "move", "move_to": "s3://b-b/d"}, "is a folder"),
    ],
)
def test_what_makes_no_sense_is_refused(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        source(**keys)


PREFIX = """
[project]
name = "shop"
[sources.sales]
kind = "files"
path = "s3://bucket/in"
stream = "sales"
"""
MOVES = """
[sources.other]
kind = "files"
path = "s3://bucket/other"
stream = "sales"
after_landing = "move"
"""


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ('[lake]\nuri = "s3://bucket/in/lake"\n', "the lake .* is below s3://bucket/in"),
        (MOVES + 'move_to = "s3://bucket/in/done"\n', "what sources.other moves .* is below"),
    ],
)
def test_what_headrace_writes_itself_is_not_watched(
    tmp_path: Path, more: str, message: str
) -> None:
    (tmp_path / "headrace.toml").write_text(PREFIX + more)
    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path)
    # Another store may have a bucket of that name.
    elsewhere = '[sources.sales.options]\naws_endpoint_url = "https://s3.example.com"\n'
    (tmp_path / "headrace.toml").write_text(PREFIX + elsewhere + more)
    assert load_config(tmp_path).file_sources["sales"].path == "s3://bucket/in"
