"""`headrace.Project`: what the command line does, from Python."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from headrace.config_file import load_config
from headrace.errors import ContractError

if TYPE_CHECKING:
    import pyarrow as pa

    from headrace.cli.one_pass import PassProgress, PassReport
    from headrace.cli.refresh import RefreshReport
    from headrace.lakehouse.contract import Contract
    from headrace.lakehouse.delta import Lake
    from headrace.lakehouse.query import Catalog

log = structlog.get_logger("project")


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

    @cached_property
    def catalog(self) -> Catalog:
        """Its streams with their contracts, and its models; `ContractError` names all problems."""
        from headrace.lakehouse.models import load_models
        from headrace.lakehouse.query import Catalog

        problems: list[str] = []
        streams = self._contracts(problems)
        with_contract = [name for name in streams if self.config.stream(name).has_contract]
        try:
            models = load_models(self.config.paths.gold, with_contract)
        except ContractError as error:
            problems.append(error.message)
        if problems:
            raise ContractError("\n".join(problems))
        return Catalog(self.lake, streams, models)

    @cached_property
    def reading_catalog(self) -> Catalog:
        """As `catalog`, but a model that is wrong keeps nobody from reading what is built."""
        from headrace.lakehouse.query import Catalog

        try:
            return self.catalog
        except ContractError as error:
            problems: list[str] = []
            streams = self._contracts(problems)
            if problems:
                raise
            log.warning("models_are_wrong", problems=error.message)
            return Catalog(self.lake, streams, [])

    def _contracts(self, problems: list[str]) -> dict[str, Contract | None]:
        from headrace.lakehouse.contract import compile_contract

        streams: dict[str, Contract | None] = {}
        for name in self.config.stream_names:
            rules = self.config.stream(name)
            streams[name] = None
            if rules.has_contract:
                try:
                    first_date = self.config.first_date(name)
                    streams[name] = compile_contract(name, rules, first_date)
                except ContractError as error:
                    problems.append(error.message)
        return streams

    def run(self, source: str | None = None, *, progress: PassProgress | None = None) -> PassReport:
        """One pass: take what is there, publish, land, refresh; returns what was done."""
        from headrace.cli.one_pass import run_one_pass

        return run_one_pass(self, source=source, progress=progress)

    def refresh(self) -> RefreshReport:
        """Bring silver and gold up to date with bronze."""
        from headrace.cli.refresh import refresh

        return refresh(self)

    def sql(self, query: str) -> pa.Table:
        """Rows of a SELECT over `bronze.*`, `silver.*`, `gold.*`, `quarantine.*`."""
        from headrace.lakehouse.query import run_query

        with run_query(self.reading_catalog, query, scratch=self.config.paths.scratch) as result:
            return result.read_all()


def open_project(path: Path, *, stop_in_order: bool = False) -> Project:
    """A command's project: logs are set up, warnings and worse to stderr, and signals end it.

    `stop_in_order`: it starts roles, which have to be stopped first.
    """
    from headrace.cli.signals import exit_on_signals, interrupt_on_terminate
    from headrace.logs import configure_logs

    configure_logs()
    if stop_in_order:
        interrupt_on_terminate()
    else:
        exit_on_signals()
    return Project(path)
