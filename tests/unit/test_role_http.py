"""A role's HTTP port: metrics and health, whatever its handlers do."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from structlog.testing import capture_logs

from headrace.errors import HeadraceError, LakeError, UsageError
from headrace.role_http import Health, RoleHttp

WELL = Health(ok=True)


@contextmanager
def serving(
    *,
    health: Callable[[], Health] = lambda: WELL,
    before_metrics: Callable[[], None] = lambda: None,
    routes: tuple[Route, ...] = (),
) -> Iterator[httpx.Client]:
    http = RoleHttp("consume", health=health, before_metrics=before_metrics, routes=routes)
    port = http.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            yield client
    finally:
        http.stop()


def test_metrics_are_prometheus_text_and_name_the_build() -> None:
    with serving() as client:
        answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    builds = families["headrace_build_info"].samples
    assert [s.value for s in builds if s.labels["role"] == "consume"] == [1.0]
    assert "python_info" in families
    assert not [name for name in families if name.endswith("_created")]


@pytest.mark.parametrize(
    ("health", "status"),
    [(WELL, 200), (Health(ok=False, reason="the broker has not answered"), 503)],
)
def test_health_says_why_not(health: Health, status: int) -> None:
    with serving(health=lambda: health) as client:
        answer = client.get("/healthz")
    assert answer.status_code == status
    assert answer.json() == {"role": "consume", "ok": health.ok, "reason": health.reason}


def test_a_handler_that_fails_is_a_500_and_a_line_and_not_the_end() -> None:
    def fail() -> Health:
        raise ZeroDivisionError("a bug")

    with capture_logs() as lines, serving(health=fail) as client:
        answers = [client.get("/healthz").status_code for _ in range(3)]
        assert client.get("/metrics").status_code == 200
    assert answers == [500, 500, 500]
    told = [line for line in lines if line["event"] == "request_failed"]
    assert [(line["path"], line["log_level"]) for line in told] == [("/healthz", "error")] * 3


def test_figures_that_cannot_be_read_do_not_hide_the_others() -> None:
    def fail() -> None:
        raise LakeError("the lake is away")

    with serving(before_metrics=fail) as client:
        answer = client.get("/metrics")
    assert answer.status_code == 200
    assert "headrace_build_info" in answer.text


def test_scrapes_at_the_same_moment_set_gauges_one_after_the_other() -> None:
    inside = 0
    most = 0

    def look() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.005)  # long enough for another to come in, were it let in
        inside -= 1

    with serving(before_metrics=look) as client, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.get("/metrics").status_code, range(24)))
    assert answers == [200] * 24
    assert most == 1


def test_a_look_that_hangs_keeps_neither_other_scrapes_nor_health_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("headrace.role_http._SCRAPE_WAIT_SECONDS", 0.05)
    looking, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        looking.set()
        go_on.wait(30)

    with serving(before_metrics=hang) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.get, "/metrics")
        try:
            assert looking.wait(10)
            assert [client.get("/metrics").status_code for _ in range(60)] == [503] * 60
            assert client.get("/healthz").status_code == 200
        finally:
            go_on.set()
        assert first.result().status_code == 200
        assert client.get("/metrics").status_code == 200


def test_a_taken_port_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        http = RoleHttp("broker", health=lambda: WELL, port=port)
        with pytest.raises(UsageError, match=f"port {port} on 127.0.0.1 cannot be used") as error:
            http.start()
    assert "--http-port" in (error.value.remedy or "")


def test_a_server_that_cannot_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    http = RoleHttp("broker", health=lambda: WELL)

    def fail(*_: object) -> None:
        raise RuntimeError("no loop to be had")

    monkeypatch.setattr(http._server, "run", fail)
    with pytest.raises(HeadraceError, match="no loop to be had"):
        http.start()
    with socket.create_server(("127.0.0.1", http.port)):
        pass  # the port is free again


def test_it_stops_at_once_and_lets_go_of_the_port() -> None:
    http = RoleHttp("broker", health=lambda: WELL)
    port = http.start()
    with httpx.Client() as client:  # keeps its connection open
        client.get(f"http://127.0.0.1:{port}/healthz")
        began = time.monotonic()
        http.stop()
        assert time.monotonic() - began < 1
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/healthz")


def test_a_request_that_does_not_end_does_not_keep_it() -> None:
    asked, go_on = threading.Event(), threading.Event()

    def wait(_request: Request) -> Response:
        asked.set()
        go_on.wait(30)
        return Response()

    http = RoleHttp("produce", health=lambda: WELL, routes=[Route("/wait", wait)])
    port = http.start()

    def ask() -> None:
        with suppress(httpx.HTTPError):  # it is hung up on
            httpx.get(f"http://127.0.0.1:{port}/wait", timeout=20)

    caller = threading.Thread(target=ask)
    caller.start()
    try:
        assert asked.wait(10)
        began = time.monotonic()
        http.stop()
        assert time.monotonic() - began < 5
    finally:
        go_on.set()
        caller.join()


@pytest.mark.parametrize("sent", [b"", b"POST /hooks/x HTTP/1.1\r\nX-Slow: ", b"\r\n"])
def test_who_does_not_come_to_the_end_of_his_headers_is_hung_up_on(
    sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.http_patience.HEADER_SECONDS", 0.2)
    with serving() as client:
        port = client.base_url.port
        assert port is not None
        with socket.create_connection(("127.0.0.1", port), timeout=30) as slow:
            slow.sendall(sent)
            assert hung_up(slow)
        with socket.create_connection(("127.0.0.1", port), timeout=30) as slow:
            # After a request that was answered as well.
            slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert slow.recv(1_000).startswith(b"HTTP/1.1 200")
            slow.sendall(b"GET /healthz HTTP/1.1\r\n")
            assert hung_up(slow)


def test_headers_without_end_are_not_gathered() -> None:
    with serving() as client:
        port = client.base_url.port
        assert port is not None
        with socket.create_connection(("127.0.0.1", port), timeout=30) as endless:
            endless.sendall(b"GET /healthz HTTP/1.1\r\n")
            refused = False
            for number in range(100_000):
                try:
                    endless.sendall(b"X-%d: %s\r\n" % (number, b"x" * 1_000))
                except OSError:
                    refused = True
                    break
            assert refused


def hung_up(connection: socket.socket) -> bool:
    try:
        return connection.recv(1_000) == b""
    except ConnectionResetError:
        return True
