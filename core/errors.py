"""The errors headrace raises on purpose.

Each says what was found, what was expected and what to do about it. Two kinds matter to
whoever catches them: *refused* (nothing happened, it is safe to look again) and *unknown*
(it may have happened: look before trying again).
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

# Between what is wrong and what to do about it, where both are one text.
REMEDY_BEGINS: Final = "\n  -> "


class HeadraceError(Exception):
    """Base of every error a user may meet; its text is a complete message.

    `remedy` is the next thing to do, shown after the message.
    """

    exit_code = 1

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}{REMEDY_BEGINS}{self.remedy}" if self.remedy else self.message


class UsageError(HeadraceError):
    """The command cannot be carried out as it was asked for."""

    exit_code = 2


class ConfigError(UsageError):
    """A config file or a setting of the environment is wrong; lists every problem found."""


class ProjectLockedError(HeadraceError):
    """Another process works on this project, and only one may."""


class DeliveryRejectedError(HeadraceError):
    """A delivery cannot be read at all; recorded in the ledger as `rejected` with this text."""


class ApiError(HeadraceError):
    """A request to an API brought no page; nothing of it is kept. The text has no secret in it."""


class ApiRefusedError(ApiError):
    """The server will not answer this request, however often it is asked: a 4xx, a wrong token.

    `status`: of its answer; None where there was none.
    """

    def __init__(
        self, message: str, *, remedy: str | None = None, status: int | None = None
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.status = status


class ApiLaterError(ApiError):
    """There is no asking now, but later there is. `until`: from when on, where that is known."""

    def __init__(
        self, message: str, *, remedy: str | None = None, until: datetime | None = None
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.until = until


class ApiUnavailableError(ApiLaterError):
    """Given up after all tries: no connection, no whole answer in time, a 5xx, a rate limit."""


class ApiBudgetError(ApiLaterError):
    """All requests that the config allows a day are spent."""


class ApiContentError(ApiError):
    """What the server sent is not what is taken: too large, not JSON, not a page."""


class ApiTooLargeError(ApiContentError):
    """The answer is larger than the config allows, as sent or unpacked."""


class LedgerError(HeadraceError):
    """The ledger or the spool cannot be used (damaged, full disk, made by another version)."""


class BrokerError(HeadraceError):
    """The broker cannot be reached, or answered in a way we cannot go on from."""


class LakeError(HeadraceError):
    """The lake cannot be read or written (permissions, space, network, damaged table)."""


class ClaimedError(LakeError):
    """A source of the lake belongs to another ledger."""


class CommitRefusedError(LakeError):
    """The table had moved on: nothing was written. Refresh the handle and look again."""


class CommitUnknownError(LakeError):
    """The commit may or may not have been written: refresh and look before trying again."""


class ContractError(ConfigError):
    """A stream's contract or a gold model cannot be used as written."""
