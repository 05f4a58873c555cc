"""Whether a call is from who shares our secret: over the raw bytes, in constant time.

Schemes: GitHub's (https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries),
Standard Webhooks (https://github.com/standard-webhooks/standard-webhooks, symmetric ones), Stripe's
(https://docs.stripe.com/webhooks#verify-manually), a token.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from headrace.config_webhook import Signature, standard_key
from headrace.producers.webhook.headers import Headers

# Of one header: a real one has one or two.
_MAX_SIGNATURES: Final = 16
_STANDARD_PREFIXES: Final = ("webhook-", "svix-")


class Flaw(StrEnum):
    """What is wrong with a signature; for our log and metrics, never for the caller."""

    MISSING = "missing"
    MALFORMED = "malformed"
    STALE = "stale"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a caller says: these signatures, of what stands before the body with the body."""

    before_body: bytes
    signatures: tuple[bytes, ...]
    timestamp: int | None = None


def flaw_in(signature: Signature, headers: Headers, body: bytes, now: float) -> Flaw | None:
    """What is wrong with a call's signature; None: nothing. `now`: seconds since 1970."""
    if signature.kind == "none":
        return None
    assert signature.header_name is not None
    if signature.kind == "token":
        return _token_flaw(signature, headers.only(signature.header_name))
    claim = _CLAIMS[signature.kind](signature.header_name, headers)
    if isinstance(claim, Flaw):
        return claim
    if claim.timestamp is not None and abs(now - claim.timestamp) > signature.replay_window:
        return Flaw.STALE
    keys = _keys(signature)
    expected = [_mac(key, claim.before_body, body) for key in keys]
    return None if _any_same(expected, claim.signatures) else Flaw.WRONG


def sign(signature: Signature, headers: Headers, body: bytes, now: float) -> dict[str, str]:
    """The headers that a caller with our first secret would add; `headers`: those it has."""
    assert signature.header_name is not None
    stamp = int(now)
    key = _keys(signature)[0]
    match signature.kind:
        case "github":
            return {signature.header_name: f"sha256={_mac(key, b'', body).hex()}"}
        case "stripe":
            mac = _mac(key, b"%d." % stamp, body).hex()
            return {signature.header_name: f"t={stamp},v1={mac}"}
        case "standard":
            call_id = headers.only("webhook-id") or ""
            standard = _mac(key, f"{call_id}.{stamp}.".encode(), body)
            return {
                "webhook-timestamp": str(stamp),
                "webhook-signature": f"v1,{base64.b64encode(standard).decode()}",
            }
        case _:
            return {signature.header_name: signature.keys[0]}


def _token_flaw(signature: Signature, found: str | None) -> Flaw | None:
    if found is None:
        return Flaw.MISSING
    scheme, space, token = found.partition(" ")
    candidates = [found.encode("latin-1")]
    if space and scheme.lower() in ("bearer", "token"):
        candidates.append(token.strip().encode("latin-1"))
    keys = [key.encode() for key in signature.keys]
    return None if _any_same(keys, candidates) else Flaw.WRONG


def _github(header: str, headers: Headers) -> _Claim | Flaw:
    found = headers.only(header)
    if found is None:
        return Flaw.MISSING
    algorithm, _, digits = found.partition("=")
    mac = _from_hex(digits)
    if algorithm != "sha256" or mac is None:
        return Flaw.MALFORMED
    return _Claim(b"", (mac,))


def _standard(_header: str, headers: Headers) -> _Claim | Flaw:
    for prefix in _STANDARD_PREFIXES:
        call_id, stamp, signatures = (
            headers.only(prefix + part) for part in ("id", "timestamp", "signature")
        )
        if call_id is None or stamp is None or signatures is None:
            continue
        timestamp = _timestamp(stamp)
        # `v1a` are asymmetric ones, which we have no key for.
        texts = [text.removeprefix("v1,") for text in signatures.split() if text.startswith("v1,")]
        macs = _all(map(_from_base64, texts[:_MAX_SIGNATURES]))
        if timestamp is None or not macs:
            return Flaw.MALFORMED
        return _Claim(f"{call_id}.{stamp}.".encode("latin-1"), macs, timestamp)
    return Flaw.MISSING


def _stripe(header: str, headers: Headers) -> _Claim | Flaw:
    found = headers.only(header)
    if found is None:
        return Flaw.MISSING
    pairs = [part.strip().partition("=") for part in found.split(",")]
    stamps = [value for name, _, value in pairs if name == "t"]
    texts = [value for name, _, value in pairs if name == "v1"]
    macs = _all(map(_from_hex, texts[:_MAX_SIGNATURES]))
    timestamp = _timestamp(stamps[0]) if len(stamps) == 1 else None
    if timestamp is None or not macs:
        return Flaw.MALFORMED
    return _Claim(f"{stamps[0]}.".encode("latin-1"), macs, timestamp)


_CLAIMS: Final = {"github": _github, "standard": _standard, "stripe": _stripe}


def _keys(signature: Signature) -> list[bytes]:
    if signature.kind == "standard":
        return [standard_key(secret) for secret in signature.keys]
    return [secret.encode() for secret in signature.keys]


def _mac(key: bytes, before: bytes, body: bytes) -> bytes:
    mac = hmac.new(key, before, hashlib.sha256)
    mac.update(body)
    return mac.digest()


def _any_same(expected: Sequence[bytes], found: Iterable[bytes]) -> bool:
    """Whether any is any of the others; every pair is compared, whichever are the same."""
    same = False
    for candidate in found:
        for value in expected:
            same |= hmac.compare_digest(value, candidate)
    return same


def _all(macs: Iterable[bytes | None]) -> tuple[bytes, ...]:
    """Those that could be read: a new kind of signature beside ours is no reason to refuse."""
    return tuple(mac for mac in macs if mac is not None)


def _from_hex(text: str) -> bytes | None:
    try:
        return bytes.fromhex(text) if len(text) == 2 * hashlib.sha256().digest_size else None
    except ValueError:
        return None


def _from_base64(text: str) -> bytes | None:
    try:
        mac = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return mac if len(mac) == hashlib.sha256().digest_size else None


def _timestamp(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 12 else None
