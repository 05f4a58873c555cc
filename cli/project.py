"""`headrace.Project`: what the command line does, from Python."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.config_file import load_config

if TYPE_CHECKING:
    from datetime import date

    import pyarrow as pa

    from headrace.cli.one_pass import PassProgress, PassReport
    from headrace.lakehouse.delta import Lake
    from headrace.lakehouse.query import Catalog
    from headrace.lakehouse.refresh import RefreshReport


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
        from headrace.lakehouse.catalog import lake_of

        return lake_of(self.config)

    @cached_property
    def catalog(self) -> Catalog:
        """Its streams with their contracts, and its models; `ContractError` names all problems."""
        from headrace.lakehouse.catalog import load_catalog

        return load_catalog(self.config, self.lake)

    @cached_property
    def reading_catalog(self) -> Catalog:
        """As `catalog`, but a model that is wrong keeps nobody from reading what is built."""
        from headrace.lakehouse.catalog import load_reading_catalog

        return load_reading_catalog(self.config, self.lake)

    def run(
        self,
        source: str | None = None,
        *,
        dates: tuple[date, date] | None = None,
        progress: PassProgress | None = None,
    ) -> PassReport:
        """One pass: take what is there, publish, land, refresh; returns what was done.

        `dates`: ask the source, an API, for these, first and last.
        """
        from headrace.cli.one_pass import run_one_pass

        return run_one_pass(self, source=source, dates=dates, progress=progress)

    def refresh(self) -> RefreshReport:
        """Bring silver and gold up to date with bronze."""
        from headrace.lakehouse.refresh import refresh

        return refresh(self.catalog, self.config.paths)

    def sql(self, query: str) -> pa.Table:
        """Rows of a SELECT over `bronze.*`, `silver.*`, `gold.*`, `quarantine.*`."""
        from headrace.lakehouse.query import run_query

        with run_query(self.reading_catalog, query, scratch=self.config.paths.scratch) as result:
            return result.read_all()


def open_project(path: Path, *, stop_in_order: bool = False) -> Project:
    """A command's project: logs are set up, warnings and worse to stderr, and signals end it.

    `stop_in_order`: it starts roles, which have to be stopped first.
    """
    from headrace.cli.signals import exit_on_signals, unwind_on_signals
    from headrace.logs import configure_logs

    configure_logs()
    if stop_in_order:
        unwind_on_signals()
    else:
        exit_on_signals()
    return Project(path)
