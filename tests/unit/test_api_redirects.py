"""Where redirects lead, and what goes along."""

from __future__ import annotations

import pytest

from headrace.producers.api.page import PageRequest
from headrace.producers.api.redirects import RedirectError, origin, redirected

URL = "https://api.example.com/v1/items?page=1"


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/v2/items", "https://api.example.com/v2/items"),
        ("items?page=2#top", "https://api.example.com/v1/items?page=2"),
        ("//other.example/x", "https://other.example/x"),
        ("https://me:you@other.example/x", "https://other.example/x"),
        (" https://api.example.com:443/ ", "https://api.example.com:443/"),
    ],
)
def test_a_place_is_read_as_browsers_do(location: str, target: str) -> None:
    request = PageRequest(URL, query=(("a", "1"),))
    moved = redirected(request, URL, 302, location)
    assert (moved.url, moved.query, moved.method) == (target, (), "GET")


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("http://api.example.com/v1/items", "from https to http"),
        (None, "no place"),
        ("", "no place"),
        ("ftp://x/y", "no http or https"),
        ("javascript:alert(1)", "no http or https"),
        ("https://x:99999/", "no http or https"),
        ("https://[::1", "no http or https"),
    ],
)
def test_what_leads_nowhere_good_is_not_followed(location: str | None, said: str) -> None:
    with pytest.raises(RedirectError, match=said):
        redirected(PageRequest(URL), URL, 301, location)


@pytest.mark.parametrize(
    ("status", "method", "body"),
    [
        (301, "GET", None),
        (302, "GET", None),
        (303, "GET", None),
        (307, "POST", b"{}"),
        (308, "POST", b"{}"),
    ],
)
def test_a_post_stays_one_where_it_is_said_to(status: int, method: str, body: bytes | None) -> None:
    headers = (("Content-Type", "application/json"), ("X-A", "1"))
    request = PageRequest(URL, "POST", headers=headers, body=b"{}")
    moved = redirected(request, URL, status, "/elsewhere")
    assert (moved.method, moved.body) == (method, body)
    assert moved.headers == (headers if body else headers[1:])


def test_a_place_is_another_by_scheme_host_or_port() -> None:
    assert origin("https://API.example.com./x") == origin("https://api.example.com:443")
    places = {
        origin(f"{scheme}://{host}:{port}")
        for scheme in ("http", "https")
        for host in ("a", "b")
        for port in (1, 2)
    }
    assert len(places) == 8
