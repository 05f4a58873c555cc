"""What an API source's config may say together, and how a wrong one is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from headrace.config_api import ApiSource

CURSOR = {"field": "at", "parameter": "since"}


def source(**keys: Any) -> ApiSource:
    table = {"kind": "api", "stream": "s", "url": "https://api.example.com/items", **keys}
    return ApiSource.model_validate(table)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"query": {"a": "{ from }"}}, "window"),
        ({"url": "https://api.example.com/{to}"}, "window"),
        ({"window": "1d"}, "{ from }"),
        ({"window": "1 fortnight", "query": {"a": "{ from }"}}, "duration"),
        ({"query": {"a": "{ cursor }"}}, "initial"),
        ({"query": {"a": "{ cursor }"}, "cursor": CURSOR}, "initial"),
        ({"cursor": {"field": "at", "initial": 0}}, "parameter"),
        ({"cursor": {**CURSOR, "type": "number", "initial": "abc"}}, "expects a number"),
        ({"cursor": {**CURSOR, "type": "number", "initial": "nan"}}, "expects a number"),
        ({"cursor": {**CURSOR, "format": "%Y-%Q"}}, "bad directive"),
        ({"parallel": "a[?b]"}, "path of names"),
        ({"cursor": CURSOR, "parallel": "hourly"}, "records"),
        ({"cursor": CURSOR, "window": "1d", "query": {"a": "{ from }"}}, "either"),
        ({"records": "a", "parallel": "b"}, "either"),
        ({"records": "a["}, "JMESPath"),
        ({"pagination": {"kind": "pages"}}, "pagination"),
        ({"pagination": {"kind": "cursor"}}, "path"),
        ({"pagination": {"kind": "page", "until": "short"}}, "size"),
        ({"pagination": {"kind": "page", "place": "body"}}, "body"),
        ({"url": "https://{ h }/x", "variables": {"h": ""}}, "host"),
        ({"url": "https://{ h }/x", "variables": {"h": ["eu.example.com", "a/b"]}}, "host"),
        ({"url": "https://{ now }/x"}, "host"),
        ({"every": "1 fortnight"}, "duration"),
    ],
)
def test_what_does_not_go_together_is_refused(keys: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError) as refused:
        source(**keys)
    assert expected in str(refused.value)


@pytest.mark.parametrize(
    "keys",
    [
        {"window": "1d", "query": {"a": "{ from }"}},
        {"window": "1d", "method": "POST", "body": {"json": {"range": [{"gte": "{from}"}]}}},
        {"cursor": {"field": "at", "initial": 0}, "url": "https://api.example.com/{cursor}"},
        {"cursor": CURSOR, "pagination": {"kind": "link"}, "records": "@"},
        {"query": {"at": "{ now }"}},
        {"url": "https://{ region }.example.com/x", "variables": {"region": ["eu", "us-1"]}},
    ],
)
def test_what_goes_together_is_taken(keys: dict[str, Any]) -> None:
    assert source(**keys).kind == "api"
