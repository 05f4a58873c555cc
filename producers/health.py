"""Whether a producer that stays does its work."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

# A look may take a while (many files to copy), and a scan on a slow file system too.
_LATE_SECONDS: Final = 300.0
_LATE_TIMES: Final = 4


def why_unwell(
    now: float,
    looked_at: Mapping[str, float | None],
    scan_every: float,
    *,
    broker_lost: str | None,
    lake_unreadable_since: float | None,
    unreachable: Mapping[str, str] = MappingProxyType({}),
) -> str | None:
    """What keeps a producer from its work; None: nothing.

    `looked_at`: when each watched source's folder was last looked for. `unreachable`: sources that
    cannot be asked for what they have, with why. Times are seconds of one clock, `now` among them.
    """
    if broker_lost is not None:
        return f"the broker is lost: {broker_lost}"
    if lake_unreadable_since is not None:
        return f"the lake cannot be read for {now - lake_unreadable_since:.0f} s"
    for source, reason in sorted(unreachable.items()):
        return f"source {source} cannot be reached: {reason}"
    late = max(_LATE_SECONDS, _LATE_TIMES * scan_every)
    for source, at in sorted(looked_at.items()):
        if at is None:
            return f"source {source} has not been looked at yet"
        if now - at > late:
            return f"source {source} was last looked at {now - at:.0f} s ago"
    return None
