"""Where a project keeps what: one folder for its state, so that moving or copying it works."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProjectPaths:
    """The files and folders of the project at `root` (absolute)."""

    root: Path

    @property
    def config(self) -> Path:
        """`headrace.toml`."""
        return self.root / "headrace.toml"

    @property
    def streams(self) -> Path:
        """Contracts, one `<stream>.toml` a stream."""
        return self.root / "streams"

    @property
    def gold(self) -> Path:
        """Gold models, one `<model>.sql` each."""
        return self.root / "gold"

    @property
    def state(self) -> Path:
        """`.headrace/`: everything below is headrace's own."""
        return self.root / ".headrace"

    @property
    def ledger(self) -> Path:
        """The SQLite ledger of deliveries."""
        return self.state / "ledger.db"

    @property
    def spool(self) -> Path:
        """The raw zone: `<source>/<delivery id>/` each."""
        return self.state / "spool"

    @property
    def broker(self) -> Path:
        """The embedded broker's data."""
        return self.state / "broker"

    @property
    def tokens(self) -> Path:
        """Refresh tokens that took the place of the config's: for the user's eyes alone."""
        return self.state / "tokens"

    @property
    def logs(self) -> Path:
        """One log file a role."""
        return self.state / "logs"

    @property
    def locks(self) -> Path:
        """Lock files: one `run` a project, one refresh a stream."""
        return self.state / "locks"

    @property
    def services(self) -> Path:
        """Which roles run now."""
        return self.state / "services.json"

    @property
    def prometheus(self) -> Path:
        """Where the running roles serve metrics, in the form of Prometheus' `file_sd`."""
        return self.state / "prometheus.json"

    @property
    def dagster(self) -> Path:
        """Dagster's home: its settings, runs and logs."""
        return self.state / "dagster"

    @property
    def scratch(self) -> Path:
        """DuckDB's spill files and others that may be deleted at any time."""
        return self.state / "tmp"
