"""The config changes between a kill and the restart."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from faults.fault import Fault
from faults.fault_project import SETTLE_SECONDS, FaultProject
from headrace.producers.delivery import DeliveryState

_MANY_ROWS = 6_000
_ROUND_TRIP_SECONDS = 0.3


def _change_batches(project: FaultProject, dice: random.Random) -> None:
    name = dice.choice([slot.name for slot in project.consumers])
    with project.without(name):
        project.write_config(
            replace(
                project.settings,
                batch_rows=dice.choice([300, 500, 100_000]),
                batch_age=dice.choice(["20ms", "100ms", "700ms"]),
            )
        )


def _change_reading(project: FaultProject, dice: random.Random) -> None:
    """A delivery of which a part is published would be read otherwise now: more records, on other
    days. It has to go on as it began; the next ones come when all is as it was."""

    def states() -> set[DeliveryState]:
        return {row.state for row in project.deliveries()}

    def all_begun() -> bool:
        rows = project.deliveries()
        known = {(row.source, row.name) for row in rows}
        return len(known) >= project.files.dropped and DeliveryState.RECEIVED not in states()

    def all_published() -> bool:
        return all_begun() and DeliveryState.PUBLISHING not in states()

    before = project.settings
    if not project.pass_time_until(all_published, SETTLE_SECONDS):
        return
    project.broker_proxy.delay(_ROUND_TRIP_SECONDS)
    project.files.drop(rows=_MANY_ROWS)
    if not project.pass_time_until(all_begun, SETTLE_SECONDS):
        project.broker_proxy.heal()
        return
    with project.without("produce"):
        project.broker_proxy.heal()
        project.write_config(replace(before, csv=dice.choice(_READINGS), event_time="arrival"))
    try:
        project.pass_time_until(all_published, SETTLE_SECONDS)
    finally:
        with project.without("produce"):
            project.write_config(before)


_READINGS = ("header = false", 'delimiter = ";"', "skip_lines = 2")

CONFIG_FAULTS: Sequence[Fault] = (
    Fault("change batches", 2, _change_batches),
    Fault("change how files are read", 0.5, _change_reading),
)
