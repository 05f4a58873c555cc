"""A prefix of an object store takes the keys that make sense for it, and says so of others."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from headrace.config_files import FileSource


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
