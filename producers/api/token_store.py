"""The refresh token that took the place of the config's: in a file that the user alone reads.

Not in the ledger, whose cursors are for anybody to look at and lie in the spool as well.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import orjson

from headrace.durable import sync_folder
from headrace.errors import LedgerError


class TokenStore:
    """The file at `path`, for the config that `seed` (secret, hashed here) stands for.

    Under another config what is in it does not count. Its methods block.
    """

    def __init__(self, path: Path, *seed: str) -> None:
        self.path = path
        self._seed = hashlib.sha256("\0".join(seed).encode()).hexdigest()

    def load(self) -> str | None:
        """The latest refresh token; None where there is none of this config."""
        try:
            kept = orjson.loads(self.path.read_bytes())
        except (FileNotFoundError, orjson.JSONDecodeError):
            return None
        except OSError as error:
            raise self._unusable(error) from error
        if not isinstance(kept, dict) or kept.get("config") != self._seed:
            return None
        token = kept.get("refresh_token")
        return token if isinstance(token, str) else None

    def save(self, refresh_token: str) -> None:
        """Keep a refresh token; on disk when this returns. Raises `LedgerError`."""
        data = orjson.dumps({"config": self._seed, "refresh_token": refresh_token})
        draft = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft.unlink(missing_ok=True)
            file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(file, "wb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
            draft.replace(self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> LedgerError:
        return LedgerError(
            f"{self.path}, where the source's refresh token is kept, cannot be used:"
            f" {error.strerror}",
            remedy="check its permissions and the free space",
        )
