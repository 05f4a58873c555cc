"""Options of an object store mean what they mean for a lake."""

from __future__ import annotations

import pytest

from headrace.object_place import ObjectPlace, object_place
from headrace.storage_options import StorageOptions, storage_options

_KEYS = {"aws_access_key_id": "id", "AWS_SECRET_ACCESS_KEY": "secret"}


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("s3://bucket", ObjectPlace("bucket", "")),
        ("s3://bucket/", ObjectPlace("bucket", "")),
        ("s3://bucket/a/b", ObjectPlace("bucket", "a/b/")),
        ("s3://bucket/a b%20+ü/", ObjectPlace("bucket", "a b%20+ü/")),
    ],
)
def test_a_prefix_is_a_folder_and_taken_as_it_stands(path: str, place: ObjectPlace) -> None:
    assert object_place(path) == place
    assert object_place(place.uri) == place


@pytest.mark.parametrize("path", ["s3://", "s3:///x", "S3://bucket/x", "s3://a bucket/x", "inbox"])
def test_what_names_no_bucket_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="expected s3://bucket/prefix"):
        object_place(path)


def test_one_place_holds_what_is_below_it() -> None:
    assert object_place("s3://bucket/in").holds(object_place("s3://bucket/in/done"))
    assert not object_place("s3://bucket/in").holds(object_place("s3://bucket/inbox"))
    assert not object_place("s3://bucket/in").holds(object_place("s3://other/in/done"))


def test_names_are_those_of_delta_rs_in_any_case() -> None:
    options = {
        **_KEYS,
        "region": "eu-west-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9000",
        "allow_http": "true",
        "timeout": "2s",
        "max_retries": "0",
        "aws_conditional_put": "etag",
    }
    assert storage_options(options, {}) == StorageOptions(
        access_key_id="id",
        secret_access_key="secret",
        region="eu-west-1",
        endpoint="http://127.0.0.1:9000",
        timeout_seconds=2.0,
        retries=0,
    )


def test_what_is_left_out_comes_from_the_environment() -> None:
    environment = {
        "AWS_ACCESS_KEY_ID": "theirs",
        "AWS_SECRET_ACCESS_KEY": "theirs",
        "AWS_SESSION_TOKEN": "of theirs",
        "AWS_DEFAULT_REGION": "eu-north-1",
        "AWS_UNKNOWN": "ignored",
        "REGION": "ignored",
    }
    theirs = storage_options({}, environment)
    assert (theirs.access_key_id, theirs.session_token) == ("theirs", "of theirs")
    assert theirs.region == "eu-north-1"
    ours = storage_options(_KEYS, environment)
    assert (ours.access_key_id, ours.session_token) == ("id", None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"aws_endpoint_ulr": "https://x"}, 'did you mean "aws_endpoint_url"'),
        ({"aws_access_key_id": "id"}, "go together"),
        ({"endpoint": "127.0.0.1:9000"}, "expected https://host:port"),
        ({"endpoint": "http://127.0.0.1:9000"}, 'aws_allow_http = "true" allows it'),
        ({"timeout": "soon"}, "timeout: expected a duration"),
        ({"timeout": "0s"}, "timeout: expected more than nothing"),
        ({"max_retries": "-1"}, "max_retries: expected a whole number"),
        ({"allow_http": "perhaps"}, 'allow_http: expected "true" or "false"'),
    ],
)
def test_a_bad_option_says_what_was_expected(options: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        storage_options({**options, "aws_allow_http": options.get("allow_http", "false")}, {})


def test_keys_are_not_shown() -> None:
    assert "secret" not in repr(storage_options(_KEYS, {}))
