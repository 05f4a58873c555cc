"""What several of these tests talk to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.replay_server import ReplayServer, replay_server


@pytest.fixture(scope="module")
def one_server() -> Iterator[ReplayServer]:
    """A server of recorded exchanges for all tests of a module."""
    with replay_server() as server:
        yield server


@pytest.fixture
def server(one_server: ReplayServer) -> Iterator[ReplayServer]:
    """The same, as new; it has nothing to complain of in the end."""
    one_server.reset()
    yield one_server
    assert one_server.complaints == []
