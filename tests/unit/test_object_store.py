"""An S3 server's objects: listed, read, copied and deleted, and what goes wrong with it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from faults.proxy import FaultyProxy
from headrace.errors import HeadraceError
from headrace.object_place import object_place
from headrace.producers.objects.errors import (
    ObjectChangedError,
    ObjectStoreError,
    ObjectUnreadableError,
)
from headrace.producers.objects.store import ObjectStore
from headrace.storage_options import storage_options
from parts.s3 import S3Server
from support.object_bucket import Bucket

ODD_NAMES = [
    "a b.csv",
    "a+b.csv",
    "100%.csv",
    "%41%2F.csv",
    "ünï.csv",
    "日本.csv",
    "q\"'<&>.csv",
    "x?y#z=1.csv",
    "~[x]{y}.csv",
    "tab\there.csv",
    "sub/deep er/x.csv",
]


@pytest.fixture
def bucket(s3_server: S3Server, s3_bucket: str) -> Bucket:
    return Bucket(s3_server, s3_bucket)


@pytest.fixture
def store(bucket: Bucket) -> ObjectStore:
    return bucket.store()


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[FaultyProxy]:
    with FaultyProxy(int(s3_server.endpoint.rpartition(":")[2])) as proxy:
        yield proxy


def test_any_key_is_listed_and_read(store: ObjectStore, bucket: Bucket) -> None:
    for name in ODD_NAMES:
        bucket.put("in/" + name, name.encode())
    bucket.put("inbox/not below the prefix.csv", b"")
    listed = [stored for page in store.pages() for stored in page]
    assert [stored.key for stored in listed] == sorted(
        ("in/" + name for name in ODD_NAMES), key=str.encode
    )
    for stored in listed:
        assert b"".join(store.chunks(stored)).decode() == stored.key.removeprefix("in/")
        found = store.find(stored.key)
        assert found is not None
        assert (found.etag, found.size) == (stored.etag, stored.size)
    assert store.find("in/none") is None
    top = [stored.key for page in store.pages(recursive=False) for stored in page]
    assert top == [s.key for s in listed if "/" not in s.key.removeprefix("in/")]


def test_more_keys_than_a_page_holds_are_all_listed_once(
    store: ObjectStore, bucket: Bucket
) -> None:
    keys = [f"in/{number:05}.csv" for number in range(2_500)]
    bucket.put_many(keys)
    pages = list(store.pages())
    assert [len(page) for page in pages] == [1_000, 1_000, 500]
    assert [stored.key for page in pages for stored in page] == keys
    behind = [stored.key for page in store.pages(after=keys[1_999]) for stored in page]
    assert behind == keys[2_000:]


def test_an_empty_object_has_no_bytes(store: ObjectStore, bucket: Bucket) -> None:
    bucket.put("in/empty", b"")
    ((stored,),) = store.pages()
    assert list(store.chunks(stored)) == []


def test_an_object_that_was_replaced_is_not_taken_for_the_listed_one(
    store: ObjectStore, bucket: Bucket
) -> None:
    bucket.put("in/a", b"first")
    ((first,),) = store.pages()
    bucket.put("in/a", b"second")
    bucket.put("in/b", b"other")
    second, _ = next(store.pages())
    assert second.etag != first.etag
    elsewhere = object_place(f"s3://{store.place.bucket}/done")
    acts: list[Callable[[], object]] = [
        lambda: list(store.chunks(first)),
        lambda: store.copy(first, elsewhere, "done/a"),
        lambda: store.delete(first),
    ]
    for act in acts:
        with pytest.raises(ObjectChangedError):
            act()
    copied = store.copy(second, elsewhere, "done/a %+ü")
    assert b"".join(store.at(elsewhere).chunks(copied)) == b"second"
    store.delete(second)
    assert [stored.key for page in store.pages() for stored in page] == ["in/b"]
    with pytest.raises(ObjectChangedError):
        list(store.chunks(second))


def test_a_download_that_is_cut_goes_on_where_it_stood(bucket: Bucket, proxy: FaultyProxy) -> None:
    body = b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(150_000))
    bucket.put("in/large", body)
    store = bucket.store(port=proxy.port)
    ((stored,),) = store.pages()
    proxy.delay(0.005)  # a chunk: what is not read yet is not in the system's buffers either
    came = []
    for number, chunk in enumerate(store.chunks(stored)):
        came.append(chunk)
        if number in (1, 3):
            proxy.cut()
    assert proxy.struck >= 2
    assert b"".join(came) == body


def test_an_object_replaced_in_the_middle_of_a_cut_download_is_noticed(
    bucket: Bucket, proxy: FaultyProxy
) -> None:
    bucket.put("in/large", b"a" * 5_000_000)
    store = bucket.store(port=proxy.port)
    ((stored,),) = store.pages()

    proxy.delay(0.005)

    def read() -> None:
        for number, _ in enumerate(store.chunks(stored)):
            if number == 1:
                bucket.put("in/large", b"b" * 5_000_000)
                proxy.cut()

    with pytest.raises(ObjectChangedError):
        read()


@pytest.mark.parametrize(
    ("changed", "message", "remedy"),
    [
        ({"aws_access_key_id": "nobody"}, "does not know the access key", "aws_access_key_id"),
        ({"aws_secret_access_key": "wrong"}, "secret key is wrong", "aws_secret_access_key"),
        ({"aws_endpoint_url": "http://127.0.0.1:9"}, "cannot be reached", "aws_endpoint_url"),
        ({"bucket": "no-such-bucket"}, "there is no bucket no-such-bucket", "create it"),
    ],
)
def test_what_keeps_a_listing_from_coming_is_said(
    bucket: Bucket, changed: dict[str, str], message: str, remedy: str
) -> None:
    if bucket.server.kind == "moto" and {"aws_access_key_id", "aws_secret_access_key"} & set(
        changed
    ):
        pytest.skip("moto lets anyone in")
    place = object_place(f"s3://{changed.get('bucket', bucket.name)}/in")
    options = {name.lower(): value for name, value in bucket.options(max_retries="0").items()}
    options |= {name: value for name, value in changed.items() if name != "bucket"}
    store = ObjectStore(place, storage_options(options, {}))
    with pytest.raises(ObjectStoreError, match=message) as error:
        list(store.pages())
    assert remedy in (error.value.remedy or "")


def test_no_credentials_are_said(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    options = {"endpoint": s3_server.endpoint, "allow_http": "true"}
    store = ObjectStore(object_place("s3://bucket/in"), storage_options(options, {}))
    with pytest.raises(ObjectStoreError, match="no credentials"):
        list(store.pages())


def test_a_store_that_hangs_or_fails_is_given_up_in_time(
    bucket: Bucket, proxy: FaultyProxy
) -> None:
    bucket.put("in/a", b"x" * 3_000_000)
    store = bucket.store(port=proxy.port, timeout="300ms", max_retries="0")
    ((stored,),) = store.pages()
    proxy.hang("back")
    with pytest.raises(ObjectStoreError, match="does not answer in time"):
        list(store.pages())
    with pytest.raises(ObjectStoreError, match="does not answer in time"):
        list(store.chunks(stored))
    proxy.heal()
    proxy.fail_requests(1)
    with pytest.raises(ObjectStoreError, match="the store reports an error"):
        list(store.pages())
    proxy.fail_requests(1, status=403)
    with pytest.raises(ObjectUnreadableError, match="access denied: s3:GetObject on in/a"):
        list(store.chunks(stored))
    proxy.fail_requests(1, status=403)
    with pytest.raises(ObjectStoreError, match=f"denied: s3:ListBucket on {bucket.name} is not"):
        list(store.pages())
    assert b"".join(store.chunks(stored)) == b"x" * 3_000_000


def test_many_threads_read_at_once(store: ObjectStore, bucket: Bucket) -> None:
    for number in range(20):
        bucket.put(f"in/{number:02}", str(number).encode() * 100_000)
    ((*listed,),) = store.pages()
    meet = threading.Barrier(8)

    def read(number: int) -> bytes:
        if number < 8:
            meet.wait(60)
        return b"".join(store.chunks(listed[number]))

    with ThreadPoolExecutor(8) as pool:
        bodies = list(pool.map(read, range(20)))
    assert bodies == [str(number).encode() * 100_000 for number in range(20)]


def test_every_error_is_one_a_user_can_read(bucket: Bucket) -> None:
    store = bucket.store(port=9, max_retries="0", connect_timeout="1s")
    with pytest.raises(HeadraceError) as error:
        store.find("in/a")
    assert error.value.remedy
