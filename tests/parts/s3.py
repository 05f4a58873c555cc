"""An S3 server for lakes: versitygw where `make parts` has installed it, else moto's (from pip)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import boto3

from parts.availability import PARTS, leave_out, left_out, parts_are_required
from parts.processes import free_port, server_process

VERSITYGW = PARTS / "bin" / "versitygw"
_REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running server with one pair of keys.

    `kill_and_restart`: SIGKILL, and a new process over the same folder, on the same port.
    """

    kind: str
    endpoint: str
    access_key: str
    secret_key: str
    kill_and_restart: Callable[[], None]

    @property
    def storage_options(self) -> dict[str, str]:
        """What a lake on this server needs; nothing is taken from the environment."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": _REGION,
            "AWS_ALLOW_HTTP": "true",
            "aws_conditional_put": "etag",
        }

    def make_bucket(self, name: str) -> None:
        """Create an empty bucket."""
        boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=_REGION,
        ).create_bucket(Bucket=name)


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Run a server over `folder` until the block ends."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    access_key, secret_key = "headrace-tests", "headrace-tests-secret"
    folder.mkdir(parents=True, exist_ok=True)
    command: list[str | Path]
    if VERSITYGW.exists():
        kind = "versitygw"
        objects, metadata = folder / "objects", folder / "metadata"
        objects.mkdir()
        metadata.mkdir()
        # Its metadata lies beside the objects: not every file system has extended attributes.
        command = [
            *(VERSITYGW, "--port", f"127.0.0.1:{port}", "--quiet"),
            *("--access", access_key, "--secret", secret_key, "--region", _REGION),
            *("posix", "--sidecar", metadata, objects),
        ]
    elif parts_are_required():
        leave_out("versitygw", "make parts")
    else:
        kind = "moto"
        left_out["versitygw"] = "make parts; moto's server stood in for it"
        command = [sys.executable, "-P", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with ExitStack() as stack:

        def start() -> subprocess.Popen[bytes]:
            return stack.enter_context(
                server_process(
                    command, log=folder / "s3.log", answers=lambda: _speaks_http(endpoint)
                )
            )

        process = start()

        def kill_and_restart() -> None:
            nonlocal process
            process.kill()
            process.wait()
            process = start()

        yield S3Server(kind, endpoint, access_key, secret_key, kill_and_restart)


def _speaks_http(url: str) -> bool:
    try:
        urlopen(url, timeout=2).close()
    except URLError as error:
        return hasattr(error, "code")  # an HTTPError: it refuses strangers, so it answers
    except OSError:
        return False
    return True
