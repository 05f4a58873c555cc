"""What can go wrong in the embedded broker: for whoever starts it, and for its clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kio.schema.errors import ErrorCode


class BrokerError(Exception):
    """The broker can't start or go on. The message says what was found and what to do."""


class BrokerAlreadyRunningError(BrokerError):
    """Another process serves this data folder."""


class BrokerFormatError(BrokerError):
    """The data folder was written by a version of headrace this one can't read."""


class DataFolderLostError(BrokerError):
    """The data folder was removed or replaced while the broker ran."""


class RequestRefusedError(Exception):
    """A request, or one topic partition's part of it, is answered with a Kafka error code."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
