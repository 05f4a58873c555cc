"""Ports that a role can have again after a restart."""

from __future__ import annotations

import random
import socket
from typing import Final

# Below the ephemeral ranges of Linux and macOS: a port from there can be given to a client's own
# end of a connection while its server is down, such as one that tries to reach that server.
_FIRST: Final = 20_000
_LAST: Final = 32_000
_TRIES: Final = 100


def free_port(host: str = "127.0.0.1") -> int:
    """A port nothing listens on now; 0 (any) where none was found in a hundred tries."""
    for _ in range(_TRIES):
        port = random.randint(_FIRST, _LAST)  # noqa: S311 (no secret)
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    return 0
