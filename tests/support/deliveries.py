"""Deliveries made by hand, for tests of the ledger and the spool."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from headrace.event import format_delivery_id
from headrace.producers.delivery import Identity, Origin

BEGAN = datetime(2026, 3, 1, 12, tzinfo=UTC)


def identity(
    number: int = 0, *, name: str = "a.csv", content: bytes = b"a\n1\n", source: str = "sales"
) -> Identity:
    """The `number`th delivery of a made-up source."""
    received_at = BEGAN + timedelta(seconds=number)
    content_hash = hashlib.sha256(content).hexdigest()
    return Identity(
        delivery_id=format_delivery_id(received_at, content_hash),
        source=source,
        stream="sales",
        name=name,
        content_hash=content_hash,
        received_at=received_at,
        origin=Origin(f"inbox/{name}", 1_000 + number, len(content), 10**18 + number),
    )


def origin_of(path: Path) -> Origin:
    """A real file as it stands now."""
    stat = path.stat()
    return Origin(path.name, stat.st_ino, stat.st_size, stat.st_mtime_ns)
