"""Signatures: the published examples of each scheme, and whatever else strangers send."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from headrace.config_webhook import Signature
from headrace.producers.webhook.headers import Headers
from headrace.producers.webhook.signature import Flaw, flaw_in, sign

NOW = 1_614_265_330.0


def signature(kind: str, *secrets: str, **more: Any) -> Signature:
    return Signature.model_validate({"kind": kind, "secrets": list(secrets), **more})


def headers(**values: str) -> Headers:
    return Headers((name.replace("_", "-"), value) for name, value in values.items())


GITHUB = signature("github", "It's a Secret to Everybody")
# docs.github.com, "Testing the webhook payload validation"
GITHUB_MAC = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"

STANDARD = signature("standard", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
# github.com/standard-webhooks/standard-webhooks, the libraries' tests
STANDARD_CALL = {
    "webhook_id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook_timestamp": "1614265330",
    "webhook_signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}


def test_the_example_of_githubs_documentation_is_right() -> None:
    call = headers(X_Hub_Signature_256=GITHUB_MAC)
    assert flaw_in(GITHUB, call, b"Hello, World!", NOW) is None
    assert flaw_in(GITHUB, call, b"Hello, World! ", NOW) is Flaw.WRONG


def test_the_example_of_standard_webhooks_is_right() -> None:
    body = b'{"test": 2432232314}'
    assert flaw_in(STANDARD, headers(**STANDARD_CALL), body, NOW) is None
    svix = {name.replace("webhook", "svix"): value for name, value in STANDARD_CALL.items()}
    assert flaw_in(STANDARD, headers(**svix), body, NOW) is None
    for name in STANDARD_CALL:
        less = {key: value for key, value in STANDARD_CALL.items() if key != name}
        assert flaw_in(STANDARD, headers(**less), body, NOW) is Flaw.MISSING
    other = {**STANDARD_CALL, "webhook_id": "msg_other"}
    assert flaw_in(STANDARD, headers(**other), body, NOW) is Flaw.WRONG


def test_several_signatures_are_one_that_is_right() -> None:
    right = STANDARD_CALL["webhook_signature"]
    wrong = "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc="
    for value in (
        f"{wrong} {right}",
        f"{right} {wrong}",
        f"v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhq {right}",
    ):
        call = headers(**{**STANDARD_CALL, "webhook_signature": value})
        assert flaw_in(STANDARD, call, b'{"test": 2432232314}', NOW) is None
    stripe = signature("stripe", "whsec_test_secret")
    right = sign(stripe, headers(), b"{}", NOW)["Stripe-Signature"]
    stamp, _, mac = right.partition(",")
    for value in (right, f"{stamp},v1={'0' * 64},{mac}", f"{stamp}, {mac}, v0={'0' * 64}"):
        assert flaw_in(stripe, headers(Stripe_Signature=value), b"{}", NOW) is None


@pytest.mark.parametrize("kind", ["standard", "stripe"])
def test_an_old_call_is_not_taken_again(kind: str) -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    scheme = signature(kind, secret, replay_window="5m")
    given = Headers([("webhook-id", "1")])
    call = Headers([*given.pairs, *sign(scheme, given, b"x", NOW).items()])
    assert flaw_in(scheme, call, b"x", NOW + 299) is None
    assert flaw_in(scheme, call, b"x", NOW + 302) is Flaw.STALE
    assert flaw_in(scheme, call, b"x", NOW - 302) is Flaw.STALE


@pytest.mark.parametrize("kind", ["github", "standard", "stripe", "token"])
def test_two_secrets_hold_while_one_takes_the_others_place(kind: str) -> None:
    old, new, third = (
        f"whsec_{text}" for text in ("b2xkIHNlY3JldA==", "bmV3IHNlY3JldA==", "dGhpcmQgb25lIQ==")
    )
    both = signature(kind, old, new)
    given = Headers([("webhook-id", "1")])

    def flaw(secret: str) -> Flaw | None:
        added = sign(signature(kind, secret), given, b"body", NOW)
        return flaw_in(both, Headers([*given.pairs, *added.items()]), b"body", NOW)

    assert (flaw(old), flaw(new), flaw(third)) == (None, None, Flaw.WRONG)


def test_a_token_stands_in_its_header_as_it_is_or_as_bearer() -> None:
    gitlab = signature("token", "s3cret-token", header="X-Gitlab-Token")
    assert flaw_in(gitlab, headers(X_Gitlab_Token="s3cret-token"), b"", NOW) is None
    assert flaw_in(gitlab, headers(X_Gitlab_Token="s3cret-tokem"), b"", NOW) is Flaw.WRONG
    assert flaw_in(gitlab, headers(), b"", NOW) is Flaw.MISSING
    bearer = signature("token", "s3cret-token")
    assert flaw_in(bearer, headers(authorization="Bearer s3cret-token"), b"", NOW) is None
    assert flaw_in(bearer, headers(authorization="Basic s3cret-token"), b"", NOW) is Flaw.WRONG


def test_two_headers_where_one_belongs_are_none() -> None:
    twice = Headers([("X-Hub-Signature-256", GITHUB_MAC)] * 2)
    assert flaw_in(GITHUB, twice, b"Hello, World!", NOW) is Flaw.MISSING


@given(
    st.sampled_from(
        [GITHUB, STANDARD, signature("stripe", "whsec_test_secret"), signature("token", "12345678")]
    ),
    st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=200),
    st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=30),
    st.binary(max_size=50),
)
def test_whatever_a_stranger_sends_is_refused_and_breaks_nothing(
    scheme: Signature, value: str, stamp: str, body: bytes
) -> None:
    assert scheme.header_name is not None
    call = Headers(
        [(scheme.header_name, value), ("webhook-id", stamp), ("webhook-timestamp", stamp)]
    )
    assert flaw_in(scheme, call, body, NOW) is not None


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"kind": "github"}, "expects `secret = "),
        ({"kind": "github", "secret": ""}, "is its variable empty"),
        ({"kind": "github", "secret": "long enough", "secrets": ["long enough"]}, "found both"),
        ({"kind": "github", "secrets": ["aaaaaaaa", "bbbbbbbb", "cccccccc"]}, "at most 2"),
        ({"kind": "none", "secret": "long enough"}, "checks nothing"),
        ({"kind": "standard", "secret": "whsec_no base64!"}, "a key in base64"),
        ({"kind": "standard", "secret": "whsec_c2hvcnQ="}, "at least 8 bytes"),
        ({"kind": "token", "secret": "long enough", "header": "a b"}, "the name of a header"),
        ({"kind": "hmac"}, "Input should be 'github'"),
    ],
)
def test_a_signature_that_would_not_protect_is_refused_at_start(
    table: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError) as raised:
        Signature.model_validate(table)
    assert message in str(raised.value)
    secrets = [table.get("secret", ""), *table.get("secrets", [])]
    for detail in raised.value.errors(include_url=False):
        assert not [s for s in secrets if len(s) > 8 and s in f"{detail['msg']}"]
        assert not isinstance(detail["input"], str) or detail["input"] not in secrets
