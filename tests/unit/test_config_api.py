"""What a config may say of an API source, and what it is told where it may not."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from headrace.config_api import ApiSource
from headrace.config_file import load_config
from headrace.errors import ConfigError
from headrace.producers.api.request import address, home_origins, page_request, variable_sets
from support.replay_client import api_source

SOURCE = """
[project]
name = "shop"

[sources.prices]
kind = "api"
stream = "prices"
url = "https://api.example.com/v1/{ coin }"
"""


def source_of(root: Path, more: str) -> ApiSource:
    (root / "headrace.toml").write_text(SOURCE + more)
    source = load_config(root).settings.sources["prices"]
    assert isinstance(source, ApiSource)
    return source


COIN = 'variables = { coin = "x" }\n'


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("", "{ coin } stands for no variable: expected one of cursor, from, now, to"),
        ("variables = { coin = [] }", "coin has no value at all"),
        ('variables = { cursor = "x", coin = "x" }', "cursor is given by headrace"),
        (COIN + 'query = { a = "{b}" }', "{ b } stands for no variable"),
        (COIN + "body = { json = {} }", 'a body needs method = "POST"'),
        (COIN + 'method = "POST"\nbody = { json = {}, form = { a = 1 } }', "either json or form"),
        (COIN + 'headers = { Host = "x" }', "expected no Host"),
        (COIN + 'headers = { "a b" = "x" }', "expected the name of a header"),
        (COIN + 'headers = { A = "x\\ny" }', "control characters"),
        (COIN + 'method = "DELETE"', "'GET' or 'POST'"),
        (COIN + 'auth = { kind = "digest" }', "basic"),
        (COIN + 'auth = { kind = "bearer" }', "auth.token: missing"),
        (COIN + 'auth = { kind = "bearer", tokn = "x" }', 'did you mean "token"?'),
        (COIN + 'auth = { kind = "basic", username = "a:b", password = "" }', "no colon"),
        (
            COIN + 'auth.kind = "oauth2"\nauth.grant = "refresh_token"\n'
            'auth.token_url = "https://x/t"\nauth.client_id = "i"',
            "needs a refresh_token",
        ),
        (
            COIN + 'auth.kind = "oauth2"\nauth.token_url = "https://x/t"\nauth.client_id = "i"',
            "needs a client_secret",
        ),
        (
            COIN + 'auth.kind = "oauth2"\nauth.token_url = "x/t"\nauth.client_id = "i"',
            "expected an address",
        ),
        (COIN + "rate_limit = { requests = 0 }", "greater than or equal to 1"),
        (COIN + 'retries = { max_wait = "long" }', "expected a duration"),
        (COIN + 'max_response = "64 cats"', "expected a size"),
        (COIN + 'trusted_hosts = ["https://x/"]', "expected a host"),
        (COIN + "rate_limt = 1", 'did you mean "rate_limit"?'),
    ],
)
def test_a_mistake_is_said_with_its_key(tmp_path: Path, more: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        source_of(tmp_path, more)
    assert "headrace.toml: sources.prices" in error.value.message
    assert said in error.value.message


@pytest.mark.parametrize(
    "url", ["api.example.com/x", "ftp://x/y", "https://", "https://me:you@x/y", "http://[x"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="expected"):
        api_source(url)


def test_what_comes_from_the_environment_is_a_secret_and_in_no_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRICES_KEY", "key-s3cret")
    monkeypatch.setenv("PRICES_TOKEN", "token-s3cret")
    source = source_of(
        tmp_path,
        'variables = { coin = "bitcoin" }\n'
        'query = { key = { env = "PRICES_KEY" }, page = 1 }\n'
        'auth = { kind = "bearer", token = { env = "PRICES_TOKEN" } }',
    )
    assert source.secrets == {"key-s3cret", "token-s3cret"}
    assert source.query == {"key": "key-s3cret", "page": 1}

    for value in ("100", "usd", "", "20260101"):
        monkeypatch.setenv("PRICES_KEY", value)
        query = 'query = { per_page = { env = "PRICES_KEY" } }'
        assert source_of(tmp_path, COIN + query).secrets == frozenset()
    monkeypatch.setenv("PRICES_KEY", "key-s3cret")

    with pytest.raises(ConfigError) as error:
        source_of(tmp_path, 'variables = { coin = "x" }\ndaily_budget = { env = "PRICES_KEY" }')
    assert "daily_budget" in error.value.message
    assert "s3cret" not in str(error.value)


def test_a_value_in_an_address_is_one_part_of_it_unless_it_says_otherwise() -> None:
    source = api_source(
        "https://{ region }.example.com/{ repo }/{ +repo }?q={repo}#top",
        query={"a": ["1", 2, True], "b": "{repo} x+y"},
        variables={"region": ["eu", "us"], "repo": "a/b c&d"},
    )
    (values, _) = variable_sets(source.variables)
    assert values == {"region": "eu", "repo": "a/b c&d"}
    assert address(page_request(source, values)) == (
        "https://eu.example.com/a%2Fb%20c%26d/a/b%20c&d?q=a%2Fb%20c%26d"
        "&a=1&a=2&a=true&b=a/b%20c%26d%20x%2By"
    )
    assert home_origins(source) == {
        ("https", "eu.example.com", 443),
        ("https", "us.example.com", 443),
    }


def test_each_combination_of_lists_is_asked_for() -> None:
    sets = list(variable_sets({"coin": ["bitcoin", "ethereum"], "days": [1, 30], "x": 1.5}))
    assert [(s["coin"], s["days"], s["x"]) for s in sets] == [
        ("bitcoin", "1", "1.5"),
        ("bitcoin", "30", "1.5"),
        ("ethereum", "1", "1.5"),
        ("ethereum", "30", "1.5"),
    ]


def test_braces_of_a_query_language_stay_in_a_body() -> None:
    query = 'query { viewer { login } repository(name: "{ repo }") { name } }'
    source = api_source(
        "https://api.example.com/graphql",
        method="POST",
        body={"json": {"query": query}},
        variables={"repo": "shop"},
    )
    body = page_request(source, {"repo": "shop"}).body
    assert body == (b'{"query":"query { viewer { login } repository(name: \\"shop\\") { name } }"}')


def test_a_header_cannot_be_broken_by_a_variable() -> None:
    source = api_source(
        "https://api.example.com", headers={"X-A": "{ a }"}, variables={"a": "x\r\nX-B: y"}
    )
    with pytest.raises(ConfigError, match="line break"):
        page_request(source, {"a": "x\r\nX-B: y"})
