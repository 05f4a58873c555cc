"""A webhook tried: what it would let in, and a call to try it with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from headrace.cli.ask_producer import producer_url
from headrace.cli.trial import Said
from headrace.config import Config
from headrace.config_webhook import Signature, WebhookSource
from headrace.producers.files.json.place import Through, parse_place

_RECORD: Final = {"hello": "world"}
_SECRET: Final = "YOUR_SECRET"  # noqa: S105 (stands for one)
_HOW: Final = {
    "github": "an HMAC of the body, as GitHub signs",
    "standard": "an HMAC as Standard Webhooks say, of id, time and body",
    "stripe": "an HMAC of time and body, as Stripe signs",
    "token": "the shared token itself",
}
# Shell that makes a signature of $body with the secret in $secret.
_MAC: Final = 'openssl dgst -sha256 -hmac "$secret" -r | cut -d" " -f1'


def try_webhook(config: Config, name: str, source: WebhookSource) -> Iterator[Said]:
    """Say what it takes, and show a call. Nothing is called."""
    running = producer_url(config)
    port = config.settings.produce.port or "PORT"
    url = f"{running or f'http://127.0.0.1:{port}'}/hooks/{name}"
    yield Said(f"POST {url}" + ("" if running else " (no producer is running: headrace up)"))
    yield from map(Said, _accepted(source))
    if source.signature.kind == "none":
        yield Said("  note: anybody who can reach it may call")
    yield Said("\nTo try it (this sends a real call):")
    if parse_place(source.records or "@") is None:
        yield Said(f"  (put in a body in which `{source.records}` finds records)")
    yield Said(_curl(url, source))


def _accepted(source: WebhookSource) -> Iterator[str]:
    signature = source.signature
    if signature.kind != "none":
        secrets = "one of two secrets" if len(signature.keys) == 2 else "the secret"
        header = "webhook-signature" if signature.kind == "standard" else signature.header_name
        yield f"  signed: {_HOW[signature.kind]}, with {secrets}, in {header}"
    if signature.kind in ("standard", "stripe"):
        yield f"  no older than {signature.replay_window:g} s"
    yield f"  of {', '.join(source.content_types)}, up to {source.max_body:,} bytes"
    yield f"  told apart by {_identity(source)}"
    found = f"what `{source.records}` finds in it" if source.records else "an object, or an array's"
    yield f"  records: of JSON {found}" + ("" if source.records else " elements")
    if source.headers:
        yield f"  with {', '.join(source.headers)} in `_headers`"


def _identity(source: WebhookSource) -> str:
    if source.identity == "arrival":
        return "nothing: every call is one of its own"
    if source.identity == "content":
        return "their content"
    if source.delivery_id_header is not None:
        return f"{source.delivery_id_header}, or their content where they have none"
    by_scheme = {
        "github": "X-GitHub-Delivery",
        "standard": "webhook-id",
        "stripe": "the `id` in their body",
    }
    found = by_scheme.get(source.signature.kind)
    of_events = "a CloudEvent's source and id"
    return f"{f'{found}, ' if found else ''}{of_events}, or their content where they have none"


def _curl(url: str, source: WebhookSource) -> str:
    """Lines for a shell; the secret has to be put in."""
    prelude, headers = _signed(source.signature)
    body = json.dumps(_example(source.records)).replace("'", "'\\''")
    lines = [f"  body='{body}'"]
    lines += [f"  {line}" for line in prelude]
    lines.append(f"  curl -i {url} -H 'Content-Type: application/json' \\")
    lines += [f'    -H "{header}" \\' for header in headers]
    lines.append('    --data-raw "$body"')
    return "\n".join(lines)


def _example(records: str | None) -> object:
    """A body in which `records` finds one; just a record where that is no path of names."""
    place = parse_place(records or "@")
    if not place:
        return _RECORD
    value: object = [_RECORD]
    for step in reversed(place):
        value = [value] if isinstance(step, Through) else {step: value}
    return value


def _signed(signature: Signature) -> tuple[list[str], list[str]]:
    secret = f"secret='{_SECRET}'"
    header = signature.header_name
    match signature.kind:
        case "none":
            return [], []
        case "token":
            bearer = "Bearer " if header == "Authorization" else ""
            return [secret], [f"{header}: {bearer}$secret"]
        case "github":
            mac = f'mac=$(printf %s "$body" | {_MAC})'
            return [secret, mac], [f"{header}: sha256=$mac", "X-GitHub-Delivery: test-$(date +%s)"]
        case "stripe":
            mac = f'mac=$(printf %s "$now.$body" | {_MAC})'
            return [secret, "now=$(date +%s)", mac], [f"{header}: t=$now,v1=$mac"]
        case "standard":
            key = 'key=$(printf %s "${secret#whsec_}" | base64 -d | od -An -tx1 | tr -d " \\n")'
            mac = (
                'mac=$(printf %s "$id.$now.$body" |'
                " openssl dgst -sha256 -mac HMAC -macopt hexkey:$key -binary | base64)"
            )
            headers = ["webhook-id: $id", "webhook-timestamp: $now", "webhook-signature: v1,$mac"]
            return [secret, "now=$(date +%s)", "id=msg_$now", key, mac], headers
