"""An object store that takes requests and answers none."""

from __future__ import annotations

import socket
import threading

import pytest

from headrace.errors import LakeError
from headrace.lakehouse import delta
from headrace.lakehouse.delta import Lake

SCALE = 100


def test_a_store_that_hangs_is_given_up_after_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trying it again and again would outlast the group's rebalances and every stop."""
    seconds = {"timeout", "retry_timeout"}
    scaled = {
        key: f"{int(value.removesuffix('s')) * 1_000 // SCALE}ms" if key in seconds else value
        for key, value in delta._STORE_DEFAULTS.items()
    }
    monkeypatch.setattr(delta, "_STORE_DEFAULTS", scaled)
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def take_all() -> None:
            while True:
                try:
                    taken.append(listening.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=take_all, daemon=True)
        thread.start()
        options = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{listening.getsockname()[1]}",
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }
        try:
            with pytest.raises(LakeError):
                Lake("s3://bucket/lake", options).open("bronze", "sales")
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in taken:
                connection.close()
    # delta-rs looks for the table by a request or two, each of which hangs.
    assert 1 <= len(taken) <= 2
