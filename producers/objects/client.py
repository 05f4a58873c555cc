"""The client that speaks S3.

boto3, as keys are any text there: obstore (object_store), which the lake's library is built on,
was tried first. It lists at a fifth of the cost, but fails to list a prefix at all once one key in
it has a control character, and has no conditional copy and delete.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, Final

import boto3
import botocore.session
from botocore import UNSIGNED
from botocore.config import Config as ClientConfig
from botocore.loaders import create_loader

from headrace.storage_options import StorageOptions

_CONNECTIONS: Final = 16


def s3_client(options: StorageOptions) -> Any:
    """boto3's client, safe between threads; it has no types: who uses it gives it some."""
    session = botocore.session.get_session()
    session.register_component("data_loader", _service_descriptions())
    # The default takes two thirds of the time a listing takes.
    factory = session.get_component("response_parser_factory")
    factory.set_parser_defaults(timestamp_parser=_moment)
    addressing = "virtual" if options.virtual_hosted else "path" if options.endpoint else "auto"
    return boto3.session.Session(botocore_session=session).client(
        "s3",
        region_name=options.region,
        endpoint_url=options.endpoint,
        aws_access_key_id=options.access_key_id,
        aws_secret_access_key=options.secret_access_key,
        aws_session_token=options.session_token,
        verify=None if options.verify_certificates else False,
        config=ClientConfig(
            signature_version=UNSIGNED if options.skip_signature else "s3v4",
            connect_timeout=options.connect_timeout_seconds,
            read_timeout=options.timeout_seconds,
            retries={"mode": "standard", "total_max_attempts": options.retries + 1},
            max_pool_connections=_CONNECTIONS,
            proxies=None
            if options.proxy_url is None
            else {"http": options.proxy_url, "https": options.proxy_url},
            s3={"addressing_style": addressing},
            # Others than AWS often refuse the checksums that are not asked for.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


@cache
def _service_descriptions() -> Any:
    """Megabytes of JSON: read once for all clients."""
    return create_loader()


def _moment(text: Any) -> datetime:
    """A time as S3 writes it: ISO 8601 in a listing, as in an HTTP header elsewhere."""
    if isinstance(text, int | float):
        return datetime.fromtimestamp(text, UTC)
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        moment = parsedate_to_datetime(str(text))
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
