"""What is found in an archive: members that can be read, and those that can't, with why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from headrace.errors import DeliveryRejectedError

CHUNK_BYTES: Final = 1_000_000


class DamagedMemberError(DeliveryRejectedError):
    """One member cannot be read; those after it may be."""


class BrokenArchiveError(DeliveryRejectedError):
    """From here on an archive cannot be read; what came out of it before is good."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file in an archive, in its turn: the next one is asked for when this one is done with.

    `name`: within the archive, plain, or as it may be shown where it is unsafe. `problem`: why it
    is not taken. `read` gives its bytes once; reading raises `DamagedMemberError`. `size_bytes`:
    how many those are, where the archive can be believed that much.
    """

    name: str
    read: Callable[[], Iterator[bytes]]
    problem: DeliveryRejectedError | None = None
    size_bytes: int | None = None


def repack(found: str, expected: str, name: str) -> DamagedMemberError:
    """A member as it was found, that has to be packed in another way."""
    return DamagedMemberError(
        f"{name}: {found}, expected {expected}",
        remedy="pack it anew, or drop it beside the archive as a file of its own",
    )


class NamesSeen:
    """Tells the names of an archive's members apart: a name stands for one file."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def problem(self, name: str, archive: str) -> DamagedMemberError | None:
        """Why a member of this name is not taken, if it is not the first of it."""
        if name in self._seen:
            return repack(
                "another member before it has the same name", "each once", f"{archive}/{name}"
            )
        self._seen.add(name)
        return None
