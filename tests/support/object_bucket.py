"""A bucket on the tests' S3 server as the outside world fills it, and how a source names it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote

import boto3

from headrace.object_place import object_place
from headrace.producers.objects.store import ObjectStore
from headrace.storage_options import storage_options
from parts.s3 import S3Server


class Bucket:
    """One bucket; keys are whole."""

    def __init__(self, server: S3Server, name: str) -> None:
        self.server = server
        self.name = name
        self._client = _client(server.endpoint, server.access_key, server.secret_key)

    def put(self, key: str, body: bytes | str) -> None:
        """Put one object."""
        body = body.encode() if isinstance(body, str) else body
        self._client.put_object(Bucket=self.name, Key=key, Body=body)

    def put_many(self, keys: Iterable[str], body: bytes = b"x") -> None:
        """Put many small objects, without what signing each of them costs."""
        everyone_may = {
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:PutObject",
            "Resource": f"arn:aws:s3:::{self.name}/*",
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [everyone_may]})
        self._client.put_bucket_policy(Bucket=self.name, Policy=policy)
        connection = HTTPConnection(self.server.endpoint.removeprefix("http://"))
        for key in keys:
            connection.request("PUT", f"/{self.name}/{quote(key)}", body=body)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200, answer.status
        connection.close()

    def delete(self, key: str) -> None:
        """Delete one object."""
        self._client.delete_object(Bucket=self.name, Key=key)

    def keys(self, prefix: str = "") -> list[str]:
        """The keys that are there, up to 1,000."""
        found = self._client.list_objects_v2(Bucket=self.name, Prefix=prefix)
        return [entry["Key"] for entry in found.get("Contents", ())]

    def read(self, key: str) -> bytes:
        """The bytes of one object."""
        body: bytes = self._client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return body

    def options(self, port: int | None = None, **more: str) -> dict[str, str]:
        """The storage options of a source; `port`: a proxy's, in front of the server."""
        options = {**self.server.storage_options, **more}
        if port is not None:
            options["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{port}"
        return options

    def store(self, prefix: str = "in", port: int | None = None, **more: str) -> ObjectStore:
        """The store below a prefix, as a source speaks to it."""
        place = object_place(f"s3://{self.name}/{prefix}")
        return ObjectStore(place, storage_options(self.options(port, **more), {}))


@cache
def _client(endpoint: str, access_key: str, secret_key: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name="us-east-1",
    )
