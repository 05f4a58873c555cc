"""Where the next page is, whatever way an API has of saying so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.config_pages import (
    LinkPagination,
    NextUrlPagination,
    NoPagination,
    OffsetPagination,
    PagePagination,
    Pagination,
    TokenPagination,
)
from headrace.producers.api.pagination import (
    Answer,
    PaginationError,
    Position,
    first_position,
    link_target,
    next_position,
)

HERE = "https://api.example.com/v1/items?per_page=3"


def page(
    document: object = None,
    records: int = 3,
    link: str | None = None,
    header: tuple[str, str] = ("a", "b"),
) -> Answer:
    headers = [header] if link is None else [header, ("Link", link)]
    return Answer(HERE, headers, document, records)


def after(rule: Pagination, found: Answer, at: Position | None = None) -> Position | None:
    return next_position(rule, at or first_position(rule), found)


def test_a_source_without_pages_ends_after_one() -> None:
    assert after(NoPagination(), page()) is None


def test_the_recorded_pages_of_github_are_followed_to_their_end(shared_data: Path) -> None:
    path = shared_data / "github-rest/scenarios/paginate-issues/normalized-fixture.json"
    exchanges = {e["path"]: e for e in json.loads(path.read_text())}
    rule = LinkPagination(kind="link")
    at: Position | None = first_position(rule)
    url = "https://api.github.com/repos/octokit-fixture-org/paginate-issues/issues?per_page=3"
    counts = []
    while at is not None:
        url = at.url or url
        exchange = exchanges[url.removeprefix("https://api.github.com")]
        headers = [(k, str(v)) for k, v in exchange["headers"].items()]
        counts.append(len(exchange["response"]))
        at = next_position(rule, at, Answer(url, headers, exchange["response"], counts[-1]))
    assert counts == [3, 3, 3, 3, 1]
    assert "/repositories/1000/issues" in url


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('<https://a/2>; rel="next"', "https://a/2"),
        ("<https://a/2>;rel=next", "https://a/2"),
        ('<https://a/1>; rel="prev", <https://a/3>; rel="next"; title="a, b"', "https://a/3"),
        ('<https://a/1>; title="x; rel=next", <https://a/3>; rel="last next"', "https://a/3"),
        ('<https://a/?x=1,2;y>; REL="Next"', "https://a/?x=1,2;y"),
        ('<https://a/1>; rel="prev"', None),
        ("nonsense", None),
        ("", None),
    ],
)
def test_link_headers_are_read_as_the_standard_says(value: str, expected: str | None) -> None:
    assert link_target([("link", value)], "next") == expected


@given(st.text(max_size=200))
def test_no_link_header_breaks_its_reader(value: str) -> None:
    assert link_target([("link", value)], "next") is None or "<" in value


def test_a_relative_link_is_of_the_page_it_is_on() -> None:
    at = after(LinkPagination(kind="link"), page(link='</v1/items?page=2>; rel="next"'))
    assert at is not None
    assert (at.number, at.url, at.records_before) == (
        2,
        "https://api.example.com/v1/items?page=2",
        3,
    )


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example.net/2",
        "http://api.example.com/2",
        "https://api.example.com:8443/2",
        "https://api.example.com@evil.example.net/2",
        "//evil.example.net/2",
    ],
)
def test_a_next_page_elsewhere_is_refused(url: str) -> None:
    for rule, found in (
        (LinkPagination(kind="link"), page(link=f'<{url}>; rel="next"')),
        (NextUrlPagination(kind="next_url", path="next"), page({"next": url})),
    ):
        with pytest.raises(PaginationError, match="credentials"):
            after(rule, found)


def test_another_host_is_gone_to_where_the_config_names_it_but_not_in_the_clear() -> None:
    rule = NextUrlPagination(kind="next_url", path="next")
    trusted = ("b.example.net", "c.example.net:8443")
    for url in ("https://b.example.net/2", "https://c.example.net:8443/2"):
        at = next_position(rule, Position(), page({"next": url}), trusted)
        assert at is not None
        assert at.url == url
    for url in ("http://b.example.net/2", "https://c.example.net/2"):
        with pytest.raises(PaginationError, match=r"\.example\.net"):
            next_position(rule, Position(), page({"next": url}), trusted)


@pytest.mark.parametrize(
    ("here", "there", "said", "trusted"),
    [
        (
            "http://a:8080/1",
            "http://a:9090/2",
            "http://a:9090, expected one at http://a:8080",
            "a:9090",
        ),
        ("https://a/1", "https://b:443/2", "https://b, expected one at https://a", "b"),
        ("https://a/1", "http://a/2", "http://a, expected one at https://a", None),
    ],
)
def test_what_is_named_is_said_with_its_port_and_how_to_trust_it(
    here: str, there: str, said: str, trusted: str | None
) -> None:
    rule = NextUrlPagination(kind="next_url", path="next")
    answer = replace(page({"next": there}), url=here)
    with pytest.raises(PaginationError) as raised:
        next_position(rule, Position(), answer)
    assert f"next page at {said}:" in raised.value.message
    remedy = raised.value.remedy or ""
    assert ("trusted_hosts" in remedy) == (trusted is not None)
    if trusted is not None:
        assert f'trusted_hosts = ["{trusted}"]' in remedy
        assert next_position(rule, Position(), answer, (trusted,)) is not None


@pytest.mark.parametrize("end", [{}, {"next": None}, {"next": ""}, {"next": False}])
def test_a_body_without_a_next_url_is_the_last(end: object) -> None:
    assert after(NextUrlPagination(kind="next_url", path="next"), page(end)) is None


@pytest.mark.parametrize("bad", [{"next": ["a"]}, {"next": {}}, {"next": "javascript:alert(1)"}])
def test_what_is_no_url_is_refused(bad: object) -> None:
    with pytest.raises(PaginationError):
        after(NextUrlPagination(kind="next_url", path="next"), page(bad))


def test_a_page_that_names_itself_is_refused() -> None:
    with pytest.raises(PaginationError, match="itself"):
        after(LinkPagination(kind="link"), page(link=f'<{HERE}>; rel="next"'))


def test_a_token_is_repeated_until_there_is_none() -> None:
    rule = TokenPagination(kind="cursor", path="meta.next", parameter="after")
    at = after(rule, page({"meta": {"next": "abc"}}))
    assert at == Position(2, None, (("after", "abc"),), 3)
    assert next_position(rule, at, page({"meta": {"next": "d"}})) is not None
    assert next_position(rule, at, page({"meta": {}})) is None
    with pytest.raises(PaginationError, match="does not heed"):
        next_position(rule, at, page({"meta": {"next": "abc"}}))


def test_a_token_may_stand_in_a_header_or_be_the_last_id() -> None:
    in_header = TokenPagination(kind="cursor", header="X-Next", parameter="after")
    at = after(in_header, page(header=("x-next", "t2")))
    assert at is not None
    assert at.query == (("after", "t2"),)
    last_id = TokenPagination(
        kind="cursor", path="data[-1].id", parameter="starting_after", more="has_more"
    )
    document = {"data": [{"id": 1}, {"id": 2}], "has_more": True}
    at = after(last_id, page(document))
    assert at is not None
    assert at.query == (("starting_after", "2"),)
    assert after(last_id, page({**document, "has_more": False})) is None


def test_numbered_pages_go_on_until_one_is_empty() -> None:
    rule = PagePagination(kind="page", first=0)
    at = first_position(rule)
    assert at.query == (("page", "0"),)
    following = next_position(rule, at, page(records=2))
    assert following is not None
    assert following.query == (("page", "1"),)
    assert next_position(rule, following, page(records=0)) is None


def test_a_short_page_is_the_last_where_the_config_says_so() -> None:
    rule = PagePagination(kind="page", until="short", size=3)
    assert after(rule, page(records=3)) is not None
    assert after(rule, page(records=2)) is None


@given(st.lists(st.integers(1, 50), max_size=20), st.booleans())
def test_offsets_count_what_came_so_nothing_is_passed_over(sizes: list[int], told: bool) -> None:
    """A server that gives fewer than asked for, or shrinks its pages, loses nothing."""
    rule = OffsetPagination(kind="offset", total="total" if told else None)
    total = sum(sizes)
    taken: list[int] = []
    at: Position | None = first_position(rule)
    while at is not None:
        offset = int(at.query[0][1])
        size = sizes[at.number - 1] if at.number <= len(sizes) else 0
        taken += range(offset, offset + size)
        at = next_position(rule, at, page({"total": total}, records=size))
    assert taken == list(range(total))


def test_a_total_that_is_none_is_said() -> None:
    rule = PagePagination(kind="page", total="total")
    assert after(rule, page({"total": "3"}, records=3)) is None
    with pytest.raises(PaginationError, match="expected how many records"):
        after(rule, page({"count": 9}))
