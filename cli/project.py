"""`headrace.Project`: what the command line does, from Python."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.config_file import load_config

if TYPE_CHECKING:
    import pyarrow as pa

    from headrace.cli.one_pass import PassProgress, PassReport
    from headrace.cli.refresh import RefreshReport
    from headrace.lakehouse.delta import Lake


class Project:
    """A project on disk.

    >>> project = Project("shop")
    >>> project.run()
    >>> project.sql("SELECT * FROM gold.daily_revenue")

    Raises `ConfigError` where its files are wrong.
    """

    def __init__(self, path: str | Path = ".") -> None:
        self.config = load_config(Path(path))

    @cached_property
    def lake(self) -> Lake:
        """The project's lake."""
        from headrace.lakehouse.delta import Lake

        return Lake(self.config.lake_uri, dict(self.config.settings.lake.options))

    def run(
        self, source: str | None = None, *, progress: PassProgress | None = None
    ) -> PassReport:
        """One pass: take what is there, publish, land, refresh; returns what was done."""
        from headrace.cli.one_pass import run_one_pass

        return run_one_pass(self, source=source, progress=progress)

    def refresh(self) -> RefreshReport:
        """Bring silver and gold up to date with bronze."""
        from headrace.cli.refresh import refresh

        return refresh(self)

    def sql(self, query: str) -> pa.Table:
        """Rows of a SELECT over `bronze.*`, `silver.*`, `gold.*`, `quarantine.*`."""
        from headrace.cli.refresh import open_query

        return open_query(self, query).read_all()
