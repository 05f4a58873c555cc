"""How far a derived table has read its inputs, as `txn`s in the commits of the table itself.

`src|<input's table id>|<rules>` is the version of an input that was read, where the rules are the
hash of the contract or model the rows were made by. `txn`s cannot be removed, so one more,
`inputs`, says which of them hold now: without it, going back to an earlier contract would find
that contract's old position beside rows made by another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from headrace.lakehouse.delta import LakeTable, Step

_INPUTS: Final = "inputs"


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a table is made by and of: a hash of the rules, and the ids of the tables it reads."""

    rules: str
    inputs: tuple[str, ...]

    @property
    def fingerprint(self) -> int:
        """63 bits that stand for it: what a `txn` can carry."""
        text = "|".join([self.rules, *sorted(self.inputs)])
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

    def app_id(self, table_id: str) -> str:
        """The `txn` that carries the version of one input."""
        return f"src|{table_id}|{self.rules}"


def read_position(table: LakeTable, recipe: Recipe) -> dict[str, int] | None:
    """The version of each input (by table id) the rows were made of; None: of others."""
    with table.lock:
        if table.position(_INPUTS) != recipe.fingerprint:
            return None
        versions = {id_: table.position(recipe.app_id(id_)) for id_ in recipe.inputs}
    known = {id_: version for id_, version in versions.items() if version is not None}
    return known if len(known) == len(versions) else None


def position_steps(
    table: LakeTable, counter: str, recipe: Recipe, versions: Mapping[str, int]
) -> dict[str, Step]:
    """What a commit compares and sets to say that its rows were made of these versions.

    `counter` is the `txn` that every commit of the table increments: two writers that read the
    table at the same version cannot both commit.
    """
    with table.lock:
        steps = {
            recipe.app_id(id_): Step(table.position(recipe.app_id(id_)), version)
            for id_, version in versions.items()
        }
        steps[_INPUTS] = Step(table.position(_INPUTS), recipe.fingerprint)
        before = table.position(counter)
        steps[counter] = Step(before, (before or 0) + 1)
    return steps
