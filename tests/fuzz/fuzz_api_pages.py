"""What API servers may answer with: documents that are cut, damaged, or say something else.

A page has records or it is a failure that says why; the next page is on the same host or refused;
what is kept of an unfinished poll is read back as it was.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import unquote

import orjson

from headrace.config_pages import (
    Incremental,
    LinkPagination,
    NextUrlPagination,
    OffsetPagination,
    PagePagination,
    Pagination,
    TokenPagination,
)
from headrace.errors import HeadraceError
from headrace.producers.api.incremental import asked_since, highest
from headrace.producers.api.page_records import page_records
from headrace.producers.api.pagination import Answer, Position, next_position, origin_of
from headrace.producers.api.unfinished import Unfinished, unfinished_from
from headrace.producers.api.walk import without_secrets

NOW: Final = datetime(2024, 1, 1, tzinfo=UTC)
HERE: Final = "https://api.example.com/v1/items?page=1"
SECRETS: Final = frozenset({"s3cret-key"})
DOCUMENT: Final[dict[str, Any]] = {
    "data": [
        {"id": 1, "updated_at": "2021-05-15T15:59:43.867Z", "price": 49_053.5, "tags": ["a"]},
        {"id": 2, "updated_at": "2021-05-15T18:00:00+02:00", "price": None, "owner": {"id": 7}},
        {"id": 3, "updated_at": 1_621_089_594_955, "price": -0.0},
    ],
    "paging": {"next": "/v1/items?page=2&key=s3cret-key", "token": "abc", "total": 3, "more": True},
    "hourly": {"time": ["2023-11-13T00:00", "2023-11-13T01:00"], "code": [1, 2]},
}
VALUES: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, -1, 2**63, 2**70, 1e300, 0.1, "", "x", "9" * 400, [], {}, [[]], [None]),
    *(
        "https://evil.example/",
        "//evil.example/x",
        "http://api.example.com/",
        "javascript:1",
        "\x00",
    ),
    *(
        "https://[::1",
        "https://api.example.com:99999/",
        "?page=2",
        "\ud83d\ude00",
        "2021-13-45",
        "NaN",
    ),
    *("9999-12-31T23:59:59-23:59", "0001-01-01", "1e999", "\u0663", {"next": {}}, [{"id": []}] * 3),
)
PATHS: Final = (
    *(
        "@",
        "data",
        "data[0]",
        "data[-1].id",
        "paging.next",
        "paging.token",
        "paging.total",
        "nothing",
    ),
    *("paging.more", "data[*].{id: id}", "data[?price > `1`]", "sum(data[*].price)", "length(@)"),
    *("hourly", "sort_by(data, &id)", "data[].tags[]", "keys(@)", "max_by(data, &price).id"),
)
RULES: Final[tuple[Pagination, ...]] = (
    LinkPagination(kind="link"),
    *(NextUrlPagination(kind="next_url", path=path) for path in PATHS[3:7]),
    *(TokenPagination(kind="cursor", path=path, more="paging.more") for path in PATHS[3:7]),
    PagePagination(kind="page", total="paging.total"),
    OffsetPagination(kind="offset", total="paging.total"),
    OffsetPagination(kind="offset", until="short", size=2),
)
CURSORS: Final = (
    Incremental(field="updated_at", parameter="since", overlap=300),
    Incremental(field="updated_at", parameter="since", format="epoch_ms", overlap=1),
    Incremental(field="id", parameter="since", type="number", overlap=1),
    Incremental(field="owner.id || id", parameter="since", type="text"),
)


def targets() -> dict[str, Callable[[random.Random], None]]:
    """By name."""
    return {"api pages": _page, "api cursors": _cursor}


def _page(rng: random.Random) -> None:
    body = _body(rng)
    parallel = rng.choice(PATHS) if rng.random() < 0.2 else None
    try:
        found = page_records(body, None if parallel else rng.choice(PATHS), parallel, _kind(rng))
    except HeadraceError:
        return
    assert found.count >= 0
    rule, at = rng.choice(RULES), Position(rng.randint(1, 3), None, (("page", "1"),), 0)
    link = rng.choice(VALUES)
    headers = [("Link", f'<{link}>; rel="next"')] if isinstance(link, str) else []
    try:
        following = next_position(rule, at, Answer(HERE, headers, found.document, found.count))
    except HeadraceError:
        return
    if following is None:
        return
    assert following.number == at.number + 1
    assert following.url is None or origin_of(following.url) == origin_of(HERE)
    kept = without_secrets(following, SECRETS)
    if kept is None:
        return
    assert "s3cret-key" not in unquote(kept.url or "")
    with suppress(orjson.JSONEncodeError):  # half of a pair of surrogates: no ledger could keep it
        state = Unfinished("rules", kept, "since", None, "digest")
        assert unfinished_from(state.to_text(), "rules") == state


def _cursor(rng: random.Random) -> None:
    try:
        records = page_records(_body(rng), "data", None).records
    except HeadraceError:
        return
    rule = rng.choice(CURSORS)
    with suppress(HeadraceError):
        value = highest(rule, records, None, NOW)
        assert highest(rule, records, value, NOW) == value
        assert value is None or asked_since(rule, value) is not None


def _kind(rng: random.Random) -> str:
    return rng.choice(("", "application/json", "text/json; charset=utf-16", "x; charset=hex"))


def _body(rng: random.Random) -> bytes:
    document = _mutated(json.loads(json.dumps(DOCUMENT)), rng)
    text = json.dumps(document, ensure_ascii=rng.random() < 0.7)
    body = text.encode(rng.choice(("utf-8", "utf-8", "utf-16", "latin-1")), errors="replace")
    match rng.randint(0, 9):
        case 0:
            return body[: rng.randint(0, len(body))]
        case 1:
            place = rng.randint(0, len(body))
            return body[:place] + rng.randbytes(rng.randint(1, 4)) + body[place:]
        case 2:
            return b"[" * rng.choice((10, 2_000)) + body
        case _:
            return body


def _mutated(value: Any, rng: random.Random) -> Any:
    """The document with some of its values others."""
    if rng.random() < 0.08:
        return rng.choice(VALUES)
    if isinstance(value, dict):
        return {k: _mutated(v, rng) for k, v in value.items() if rng.random() > 0.03}
    if isinstance(value, list):
        return [_mutated(v, rng) for v in value if rng.random() > 0.05] * rng.choice((1, 1, 1, 2))
    return value
