"""What can go wrong in the embedded broker: for whoever starts it, and for its clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.errors import BrokerError

if TYPE_CHECKING:
    from kio.schema.errors import ErrorCode


class BrokerAlreadyRunningError(BrokerError):
    """Another process serves this data folder; nothing was touched."""


class BrokerFormatError(BrokerError):
    """The data folder can't be read by this version of headrace; nothing was touched."""


class BrokerStartError(BrokerError):
    """The data folder or the port can't be used."""


class DataFolderLostError(BrokerError):
    """The data folder was removed or replaced while the broker ran; it no longer serves."""


class RequestRefusedError(Exception):
    """A request, or one topic partition's part of it, is answered with a Kafka error code."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
