"""Ports that a role can have again after a restart."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection
from typing import Final

# Below the ephemeral ranges of Linux and macOS: a port from there can be given to a client's own
# end of a connection while its server is down, such as one that tries to reach that server.
_FIRST: Final = 20_000
_LAST: Final = 32_000
_TRIES: Final = 100


def free_port(host: str = "127.0.0.1", *, besides: Collection[int] = ()) -> int:
    """A port nothing listens on now; 0 (any) where none was found in a hundred tries.

    `besides` are promised to others, who do not listen yet.
    """
    for _ in range(_TRIES):
        port = random.randint(_FIRST, _LAST)  # noqa: S311 (no secret)
        if port in besides:
            continue
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    return 0


def can_listen(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could have this port now; connections that linger there do not matter."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError:
            return False
    return True
