"""What a kind of fault is. `faults.fault_kinds.FAULTS` lists all of them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from faults.fault_project import FaultProject

Strike = Callable[[FaultProject, random.Random], None]
"""Does it; and undoes, before it returns, what would not heal by itself."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault, by its name in the summary. `weight`: how often, against the others."""

    name: str
    weight: float
    strike: Strike
    applies: Callable[[FaultProject], bool] = lambda _: True


def embedded(project: FaultProject) -> bool:
    """For the embedded broker alone."""
    return project.combo.broker == "embedded"


def on_kafka(project: FaultProject) -> bool:
    """For Apache Kafka alone."""
    return project.combo.broker == "kafka"


def on_s3(project: FaultProject) -> bool:
    """For a lake on an S3 server alone."""
    return project.combo.store == "s3"
