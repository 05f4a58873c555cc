"""What goes wrong with an object store, told apart by what it concerns, with the remedy.

*The store*: nothing of the source can be had now. *One object*: the others can. *Changed*: it is
not the object any more that was listed, and the next listing has the new one.
"""

from __future__ import annotations

from typing import Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ReadTimeoutError,
    SSLError,
)

from headrace.errors import HeadraceError

_CREDENTIALS_REMEDY: Final = (
    "set aws_access_key_id and aws_secret_access_key in the source's options, or AWS_ACCESS_KEY_ID"
    " and AWS_SECRET_ACCESS_KEY in the environment"
)
# By the code of the answer; S3's own and what others send in their place.
_OF_THE_STORE: Final = {
    "NoSuchBucket": (
        "there is no bucket {bucket}",
        "create it, or change the path in headrace.toml",
    ),
    "InvalidBucketName": (
        "the store does not accept {bucket} as a bucket's name",
        "change the path in headrace.toml",
    ),
    "InvalidAccessKeyId": ("the store does not know the access key", _CREDENTIALS_REMEDY),
    "XAdminUserNotFound": ("the store does not know the access key", _CREDENTIALS_REMEDY),
    "SignatureDoesNotMatch": (
        "the store refuses the signature: the secret key is wrong",
        _CREDENTIALS_REMEDY,
    ),
    "ExpiredToken": ("the session token has expired", "get new keys for the source's options"),
    "InvalidToken": ("the session token is not valid", "get new keys for the source's options"),
    "TokenRefreshRequired": ("the session token has expired", "get new keys for the source"),
    "RequestTimeTooSkewed": (
        "this machine's clock differs from the store's by too much",
        "set the clock (NTP)",
    ),
    "PermanentRedirect": (
        "the bucket {bucket} is in another region",
        "set aws_region in the source's options",
    ),
    "AuthorizationHeaderMalformed": (
        "the bucket {bucket} is in another region than {region}",
        "set aws_region in the source's options",
    ),
    "IllegalLocationConstraintException": (
        "the bucket {bucket} is in another region than {region}",
        "set aws_region in the source's options",
    ),
    "SlowDown": ("the store asks for fewer requests", "it is tried again later"),
    "ServiceUnavailable": ("the store is unavailable", "it is tried again later"),
    "InternalError": ("the store reports an error of its own", "it is tried again later"),
}
_DENIED: Final = frozenset({"AccessDenied", "403", "Forbidden", "AllAccessDisabled"})
_GONE: Final = frozenset({"NoSuchKey", "404", "NotFound", "PreconditionFailed", "412"})
_OUTAGE_STATUS: Final = 500


class ObjectStoreError(HeadraceError):
    """An object store cannot be reached, or gives nothing: all of the source waits."""


class ObjectUnreadableError(HeadraceError):
    """One object cannot be had; the others can."""


class ObjectChangedError(HeadraceError):
    """An object was replaced or deleted since it was listed."""


def store_error(
    error: ClientError | BotoCoreError | OSError, *, doing: str, bucket: str, region: str
) -> HeadraceError:
    """What a failed request means: one of the three above.

    `doing`: the permission that the request takes, such as `s3:ListBucket`, and on what.
    """
    if isinstance(error, ClientError):
        return _of_answer(error, doing, bucket, region)
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return ObjectStoreError("there are no credentials for it", remedy=_CREDENTIALS_REMEDY)
    if isinstance(error, ReadTimeoutError | ConnectTimeoutError):
        return ObjectStoreError(
            f"it does not answer in time ({_endpoint(error)})",
            remedy="check aws_endpoint_url and the network; `timeout` in the options sets how long"
            " an answer may take",
        )
    if isinstance(error, SSLError):
        return ObjectStoreError(
            f"no trusted connection: {error}",
            remedy="check its certificate; or aws_endpoint_url, where it speaks http://",
        )
    if isinstance(error, EndpointConnectionError | ConnectionClosedError | HTTPClientError):
        return ObjectStoreError(
            f"it cannot be reached ({_endpoint(error)})",
            remedy="check aws_endpoint_url and the network",
        )
    return ObjectStoreError(f"it cannot be asked: {error}", remedy="see the source's options")


def _of_answer(error: ClientError, doing: str, bucket: str, region: str) -> HeadraceError:
    said = error.response.get("Error", {})
    code = str(said.get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _OF_THE_STORE:
        found, remedy = _OF_THE_STORE[code]
        return ObjectStoreError(found.format(bucket=bucket, region=region), remedy=remedy)
    if code in _GONE:
        return ObjectChangedError("it was replaced or deleted since it was listed")
    if code in _DENIED:
        return ObjectUnreadableError(
            f"access denied: {doing} is not allowed",
            remedy="allow it for the access key (a policy of the user or the bucket)",
        )
    if status >= _OUTAGE_STATUS:
        return ObjectStoreError(
            f"the store reports an error ({status} {code})", remedy="it is tried again later"
        )
    return ObjectUnreadableError(f"refused: {code}: {said.get('Message', 'without a reason')}")


def _endpoint(error: BotoCoreError | OSError) -> str:
    given = getattr(error, "kwargs", {})
    return str(given.get("endpoint_url") or given.get("error") or error)
