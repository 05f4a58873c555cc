"""Whether a project's files have changed since they were read."""

from __future__ import annotations

from pathlib import Path

from headrace.paths import ProjectPaths

Fingerprint = tuple[tuple[str, int, int], ...]


def files_fingerprint(paths: ProjectPaths) -> Fingerprint:
    """Names, times and sizes of all that says what the project is: config, contracts, models."""
    files = [paths.config, paths.root / ".env", *paths.streams.glob("*.toml")]
    files += paths.gold.glob("*.sql")
    found = []
    for path in sorted(files):
        entry = _entry(path)
        if entry is not None:
            found.append(entry)
    return tuple(found)


def _entry(path: Path) -> tuple[str, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return str(path), stat.st_mtime_ns, stat.st_size
