"""A project's streams with their contracts, and its models, from its files."""

from __future__ import annotations

import structlog

from headrace.config import Config
from headrace.errors import ContractError
from headrace.lakehouse.contract import Contract, compile_contract
from headrace.lakehouse.delta import Lake
from headrace.lakehouse.models import load_models
from headrace.lakehouse.query import Catalog

log = structlog.get_logger("project")


def lake_of(config: Config) -> Lake:
    """The project's lake."""
    return Lake(config.lake_uri, dict(config.settings.lake.options))


def load_catalog(config: Config, lake: Lake) -> Catalog:
    """Every stream and model; raises `ContractError`, which names all problems."""
    problems: list[str] = []
    streams = _contracts(config, problems)
    with_contract = [name for name in streams if config.stream(name).has_contract]
    try:
        models = load_models(config.paths.gold, with_contract)
    except ContractError as error:
        problems.append(error.message)
    if problems:
        raise ContractError("\n".join(problems))
    return Catalog(lake, streams, models)


def load_reading_catalog(config: Config, lake: Lake) -> Catalog:
    """As `load_catalog`, but a model that is wrong keeps nobody from reading what is built."""
    try:
        return load_catalog(config, lake)
    except ContractError as error:
        problems: list[str] = []
        streams = _contracts(config, problems)
        if problems:
            raise
        log.warning("models_are_wrong", problems=error.message)
        return Catalog(lake, streams, [])


def _contracts(config: Config, problems: list[str]) -> dict[str, Contract | None]:
    streams: dict[str, Contract | None] = {}
    for name in config.stream_names:
        rules = config.stream(name)
        streams[name] = None
        if rules.has_contract:
            try:
                streams[name] = compile_contract(name, rules, config.first_date(name))
            except ContractError as error:
                problems.append(error.message)
    return streams
