"""The door: who comes in, what everybody else is told, and that it is never in anybody's way."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from headrace.config_webhook import WebhookSource
from headrace.producers.delivery import IdentityBy
from headrace.producers.webhook.call import Call
from headrace.producers.webhook.door import Door
from headrace.producers.webhook.headers import Headers
from headrace.producers.webhook.journal import Journal
from headrace.producers.webhook.signature import sign
from headrace.role_http import Health, RoleHttp
from support.hook_caller import HookCaller

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
JSON = {"content-type": "application/json"}


def webhook(kind: str = "none", **more: Any) -> WebhookSource:
    signature = {"kind": kind} if kind == "none" else {"kind": kind, "secret": SECRET}
    signature |= more.pop("signature", {})
    table = {"kind": "webhook", "stream": "sales", "signature": signature, **more}
    return WebhookSource.model_validate(table)


@dataclass
class Opened:
    """A door that calls can come through."""

    journals: dict[str, Journal]
    client: httpx.Client
    port: int

    def post(
        self, body: bytes | Iterator[bytes] = b"{}", name: str = "hooks", **headers: str
    ) -> Any:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        return self.client.post(f"/hooks/{name}", content=body, headers={**JSON, **named})

    def calls(self, name: str = "hooks") -> list[Call]:
        found = self.journals[name].read(10_000, 10**9)
        return [] if found is None else [Call.from_bytes(data) for data in found.payloads]


@contextmanager
def opened(tmp_path: Path, sync: Any = None, **sources: WebhookSource) -> Iterator[Opened]:
    journals = {name: Journal(tmp_path / name, sync=sync) for name in sources}
    door = Door(sources)
    http = RoleHttp("produce", health=lambda: Health(ok=True), routes=door.routes())
    port = http.start()
    try:
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60)
        with client, door.opened(journals):
            yield Opened(journals, client, port)
    finally:
        http.stop()
        for journal in journals.values():
            journal.close()


def test_a_call_is_kept_as_it_came_with_its_headers_but_no_secret(tmp_path: Path) -> None:
    body = b'{ "a" :1.10,\r\n"a":2}'
    with opened(tmp_path, hooks=webhook("token", headers=["X-Kind"])) as door:
        answer = door.post(body, Authorization=f"Bearer {SECRET}", Cookie="a=b", X_Kind="order")
        assert answer.status_code == 202
        (call,) = door.calls()
    assert answer.json() == {"delivery": call.name}
    assert call.body == body
    assert call.identity_by is IdentityBy.CONTENT
    kept = dict(call.exchange.headers)
    assert kept["x-kind"] == "order"
    assert not {"authorization", "cookie"} & kept.keys()
    assert SECRET not in str(call.exchange)
    assert call.exchange.url == "/hooks/hooks"


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", {}, 400),
        (b"x" * 1_001, {}, 413),
        (b"{}", {"content_type": "text/plain"}, 415),
        (b"{}", {"content_encoding": "gzip"}, 415),
        (b"{}", {"ce_specversion": "1.0"}, 400),
        (b"{}", {"content_type": "application/cloudevents+json"}, 400),
        (b"[]", {"content_type": "application/cloudevents+xml"}, 415),
    ],
)
def test_what_is_not_taken_is_said_in_a_few_words(
    tmp_path: Path, body: bytes, headers: dict[str, str], status: int
) -> None:
    content_types = ["application/json", "application/*+json", "application/*+xml"]
    source = webhook(max_body=1_000, content_types=content_types)
    with opened(tmp_path, hooks=source) as door:
        answer = door.post(body, **headers)
        assert answer.status_code == status
        assert list(answer.json()) == ["error"]
        assert len(answer.content) < 200
        assert door.post(b"{}").status_code == 202  # the connection, or another one, is fine
        assert len(door.calls()) == 1


def test_a_wrong_signature_an_unknown_source_and_another_method_tell_nothing(
    tmp_path: Path,
) -> None:
    with opened(tmp_path, hooks=webhook("github")) as door:
        unsigned = door.post(b"{}")
        wrong = door.post(b"{}", X_Hub_Signature_256="sha256=" + "0" * 64)
        assert (unsigned.status_code, wrong.status_code) == (401, 401)
        assert unsigned.json() == wrong.json() == {"error": "the signature is not right"}
        assert unsigned.headers["www-authenticate"]
        unknown = door.post(name="secret_plans")
        assert unknown.status_code == 404
        assert "secret_plans" not in unknown.text
        assert "hooks" not in unknown.text
        other = door.client.get("/hooks/hooks")
        assert (other.status_code, other.headers["allow"]) == (405, "POST")
        assert door.calls() == []


def test_a_long_body_without_a_length_is_cut_off(tmp_path: Path) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(1_000):
            sent += 10_000
            yield b"x" * 10_000

    with opened(tmp_path, hooks=webhook(max_body=50_000)) as door:
        answer = door.post(endless())
        assert answer.status_code == 413
        assert "transfer-encoding" in answer.request.headers
        assert door.post(iter([b"[", b"]"])).status_code == 202
        (call,) = door.calls()
    assert call.body == b"[]"


def test_a_body_that_never_ends_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.producers.webhook.call_body.read_body.__defaults__", (0.3,))
    with opened(tmp_path, hooks=webhook()) as door:
        with socket.create_connection(("127.0.0.1", door.port), timeout=60) as slow:
            slow.sendall(b"POST /hooks/hooks HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
            assert door.post(b"{}").status_code == 202
            assert slow.recv(4_000).startswith(b"HTTP/1.1 408 ")
        with socket.create_connection(("127.0.0.1", door.port), timeout=60) as gone:
            gone.sendall(b"POST /hooks/hooks HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
        assert door.post(b"[]").status_code == 202
        assert [call.body for call in door.calls()] == [b"{}", b"[]"]


def test_too_much_that_waits_is_429_until_it_is_read_away(tmp_path: Path) -> None:
    with opened(tmp_path, hooks=webhook(max_waiting=1_000_000)) as door:
        assert door.post(b"[%s]" % (b" " * 1_200_000)).status_code == 202
        answer = door.post()
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 0
        read = door.journals["hooks"].read(10, 10**9)
        assert read is not None
        door.journals["hooks"].read_away(read.position)
        assert door.post().status_code == 202


def test_bodies_together_have_so_much_memory_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.producers.webhook.door._ROOM_BYTES", 2_000)
    head = b"POST /hooks/hooks HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n"
    with opened(tmp_path, hooks=webhook(max_body=1_000)) as door:
        held = [socket.create_connection(("127.0.0.1", door.port), timeout=60) for _ in range(2)]
        try:
            for connection in held:
                connection.sendall(head + b"x" * 899)
            until(lambda: door.post(b"[%s]" % (b" " * 500)).status_code == 429)
            for connection in held:
                connection.sendall(b"x")
                assert connection.recv(4_000).startswith(b"HTTP/1.1 202 ")
            assert door.post(b"[%s]" % (b" " * 500)).status_code == 202
        finally:
            for connection in held:
                connection.close()


def test_a_full_disk_is_503_and_nothing_of_the_call_stays(tmp_path: Path) -> None:
    full = True

    def sync(descriptor: int) -> None:
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with opened(tmp_path, sync=sync, hooks=webhook()) as door:
        answer = door.post()
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert str(tmp_path) not in answer.text
        full = False
        assert door.post().status_code == 202
        assert len(door.calls()) == 1


def test_a_door_that_is_closed_says_when_to_come_again(tmp_path: Path) -> None:
    door = Door({"hooks": webhook()})
    http = RoleHttp("produce", health=lambda: Health(ok=True), routes=door.routes())
    port = http.start()
    try:
        answer = httpx.post(f"http://127.0.0.1:{port}/hooks/hooks", content=b"{}", trust_env=False)
    finally:
        http.stop()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


CLOUD_EVENT = {"specversion": "1.0", "id": "17", "source": "/shop", "type": "order.made"}
BINARY = {f"ce_{name}": value for name, value in CLOUD_EVENT.items()}


@pytest.mark.parametrize(
    ("source", "body", "headers", "name"),
    [
        (webhook("github"), b"{}", {"X_GitHub_Delivery": "guid-1"}, "guid-1"),
        (webhook("standard"), b"{}", {"webhook_id": "msg_1"}, "msg_1"),
        (webhook("stripe"), b'{"id": "evt_1"}', {}, "evt_1"),
        (webhook("stripe"), b'{"id": 1}', {}, None),
        (webhook("github"), b"{}", {}, None),
        (webhook(), b"{}", {"X_GitHub_Delivery": "guid-1"}, None),
        (webhook(delivery_id_header="X-Id"), b"{}", {"x_id": "7"}, "7"),
        (webhook(delivery_id_header="X-Id"), b"{}", {}, None),
        (webhook(), b"{}", BINARY, "/shop 17"),
        (webhook("github"), b"{}", {**BINARY, "X_GitHub_Delivery": "guid-1"}, "/shop 17"),
        (
            webhook(),
            json.dumps(CLOUD_EVENT).encode(),
            {"content_type": "application/cloudevents+json; charset=utf-8"},
            "/shop 17",
        ),
        (
            webhook(),
            json.dumps([CLOUD_EVENT]).encode(),
            {"content_type": "application/cloudevents-batch+json"},
            None,
        ),
        (webhook(identity="content"), b"{}", BINARY, None),
    ],
)
def test_a_call_is_known_by_its_senders_id_where_it_has_one(
    tmp_path: Path, source: WebhookSource, body: bytes, headers: dict[str, str], name: str | None
) -> None:
    given = Headers((key.replace("_", "-"), value) for key, value in headers.items())
    signed = {}
    if source.signature.kind != "none":
        signed = sign(source.signature, given, body, time.time())
    with opened(tmp_path, hooks=source) as door:
        assert door.post(body, **headers, **signed).status_code == 202
        (call,) = door.calls()
    if name is None:
        assert call.identity_by is IdentityBy.CONTENT
        assert call.name.startswith("sha256:")
    else:
        assert (call.name, call.identity_by) == (name, IdentityBy.NAME)


def test_where_arrival_decides_every_call_has_a_name_of_its_own(tmp_path: Path) -> None:
    with opened(tmp_path, hooks=webhook(identity="arrival")) as door:
        names = {door.post().json()["delivery"] for _ in range(20)}
        assert {call.name for call in door.calls()} == names
        assert {call.identity_by for call in door.calls()} == {IdentityBy.NAME}
    assert len(names) == 20


@pytest.mark.parametrize("sender_id", ["x" * 500, "a\u0085b", "caf\u00e9 \u0001"])
def test_an_id_that_could_not_stand_in_a_line_is_known_by_its_hash(
    tmp_path: Path, sender_id: str
) -> None:
    body = json.dumps({"id": sender_id}).encode()
    source = webhook("stripe")
    signed = sign(source.signature, Headers([]), body, time.time())
    with opened(tmp_path, hooks=source) as door:
        answer = door.post(body, **signed)
        assert answer.status_code == 202
        (call,) = door.calls()
    assert call.name.startswith("sha256:")
    assert len(call.name) == 71
    assert call.identity_by is IdentityBy.NAME


def test_the_log_says_why_but_not_for_each_of_thousands(tmp_path: Path) -> None:
    with capture_logs() as lines, opened(tmp_path, hooks=webhook("github")) as door:
        for _ in range(20):
            assert door.post(X_Hub_Signature_256="sha256=" + "0" * 64).status_code == 401
    told = [line for line in lines if line["event"] == "call_refused"]
    assert told[0]["reason"] == "wrong"
    assert len(told) < 20
    assert sum(line.get("others_since_the_last_told", 0) for line in told) < 20


def test_the_log_tells_reasons_apart_however_fast_they_come(tmp_path: Path) -> None:
    source = webhook("stripe")
    body, now = b'{"id": "evt_1"}', time.time()
    late = sign(source.signature, Headers([]), body, now - 3_600)
    wrong = sign(source.signature, Headers([]), b"another", now)
    with capture_logs() as lines, opened(tmp_path, hooks=source) as door:
        for headers in (late, wrong, {}, {"Stripe_Signature": "t=1"}, late):
            assert door.post(body, **headers).status_code == 401
        assert door.post(name="hoks").status_code == 404
    told = [line for line in lines if line["event"] == "call_refused"]
    assert {(line["status"], line["reason"]) for line in told} == {
        *((401, reason) for reason in ("stale", "wrong", "missing", "malformed")),
        (404, "there is no such webhook"),
    }
    assert next(line["path"] for line in told if line["status"] == 404) == "hoks"


def test_an_address_with_a_slash_behind_it_is_the_same(tmp_path: Path) -> None:
    with opened(tmp_path, hooks=webhook()) as door:
        assert door.post(b'{"a": 1}', name="hooks/").status_code == 202
        assert [call.body for call in door.calls()] == [b'{"a": 1}']


def test_calls_are_counted_by_what_became_of_them(tmp_path: Path) -> None:
    def count(outcome: str) -> float:
        labels = {"source": "counted", "outcome": outcome}
        return REGISTRY.get_sample_value("headrace_calls_total", labels) or 0.0

    with opened(tmp_path, counted=webhook("github")) as door:
        body = b"{}"
        signed = sign(webhook("github").signature, Headers([]), body, 0)
        door.post(body, name="counted", **signed)
        door.post(body, name="counted")
    assert (count("accepted"), count("unsigned")) == (1, 1)


async def test_hundreds_of_calls_share_few_syncs(tmp_path: Path) -> None:
    syncs = 0

    def slow(descriptor: int) -> None:
        nonlocal syncs
        syncs += 1
        time.sleep(0.02)  # a disk
        os.fdatasync(descriptor)

    with opened(tmp_path, sync=slow, hooks=webhook(identity="arrival")) as door:
        callers = [HookCaller(door.port) for _ in range(150)]
        answers = await asyncio.gather(*(caller.call(b"{}", JSON) for caller in callers))
        for caller in callers:
            caller.hang_up()
    assert [answer.status for answer in answers] == [202] * 150
    assert syncs < 50


def until(holds: Any) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
