"""`headrace.toml`: everything a project can be told, checked before anything starts.

Values come, in this order of strength, from the environment (`HEADRACE_LAKE__URI`), the project's
`.env`, the file. `{ env = "NAME" }` anywhere in the file stands for that variable.
"""

from __future__ import annotations

import codecs
import re
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from headrace.event import topic_name
from headrace.paths import ProjectPaths
from headrace.stream import Stream
from headrace.units import Bytes, Seconds

ENV_PREFIX = "HEADRACE_"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")


def check_name(value: str) -> str:
    """Names become topics, tables and folders: lower case, digits and `_`, a letter first."""
    if not _NAME.match(value):
        raise ValueError(
            "expected a name of lower-case letters, digits and _ that begins with a letter"
        )
    return value


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, value: object, info: ValidationInfo) -> object:
        """Pydantic takes true for 1: somebody's `keep = true` would be a second."""
        field = cls.model_fields.get(info.field_name or "")
        if isinstance(value, bool) and field is not None and not _takes_boolean(field.annotation):
            raise ValueError(f"expected something else than {str(value).lower()}")
        return value


def _takes_boolean(annotation: object) -> bool:
    return annotation is bool or any(_takes_boolean(part) for part in get_args(annotation))


class ProjectSection(_Section):
    """`[project]`."""

    name: Annotated[str, Field(description="prefix of its topics")]
    first_date: Annotated[
        date, Field(description="the first partition; events before it are quarantined")
    ] = date(1970, 1, 1)

    _check_name = field_validator("name")(check_name)


class LakeSection(_Section):
    """`[lake]`."""

    uri: Annotated[str, Field(description="a folder, or s3://bucket/prefix")] = "./lake"
    options: Annotated[
        dict[str, str],
        Field(description="storage options, as delta-rs names them"),
    ] = {}


class BrokerSection(_Section):
    """`[broker]`: left out, the embedded one is used."""

    bootstrap_servers: Annotated[
        str | None, Field(description="host:port[,host:port] of Redpanda or Kafka")
    ] = None
    port: Annotated[int, Field(ge=0, le=65_535, description="the embedded one's; 0: any")] = 0
    topic_partitions: Annotated[int, Field(ge=1, le=256, description="of a new topic")] = 4
    replication_factor: Annotated[int, Field(ge=1, description="of a new topic, not embedded")] = 1
    max_message_bytes: Annotated[
        Bytes, Field(ge=1_024, description="a larger record goes as a reference to the spool")
    ] = 1_000_000
    keep: Annotated[
        Seconds,
        Field(ge=1, description="how long the embedded one keeps what has landed"),
    ] = 7 * 86_400.0
    keep_bytes: Annotated[
        Bytes | None,
        Field(ge=0, description="and how much of it, of each topic partition"),
    ] = None
    max_disk_bytes: Annotated[
        Bytes | None,
        Field(
            ge=1_000_000,
            description="of its logs together: above it records go once they have landed, and"
            " before they have when nothing lands any more",
        ),
    ] = None
    fsync: Annotated[
        Literal["os", "group"],
        Field(
            description="when it acknowledges: once the system has a record, or the disk has"
            " (by an fsync shared by all that wait)"
        ),
    ] = "os"

    @field_validator("bootstrap_servers")
    @classmethod
    def _addresses(cls, value: str | None) -> str | None:
        for address in [] if value is None else value.split(","):
            host, _, port = address.strip().rpartition(":")
            if not host or not port.isdecimal():
                raise ValueError(f"expected host:port[,host:port], found {address.strip()!r}")
        return value

    @property
    def new_topic_replication(self) -> int:
        """Replicas of a new topic: the embedded broker is one node."""
        return 1 if self.bootstrap_servers is None else self.replication_factor

    @property
    def new_topic_configs(self) -> dict[str, str]:
        """Topic settings that whoever creates a topic first has to give it.

        The embedded broker is started with its limit instead.
        """
        if self.bootstrap_servers is None:
            return {}
        return {"max.message.bytes": str(self.max_message_bytes)}


class CsvOptions(_Section):
    """How the CSV files of a source are written; what is left out is found from a sample."""

    delimiter: Annotated[
        str | None, Field(min_length=1, max_length=4, description="between two fields")
    ] = None
    quote: Annotated[
        str | None, Field(max_length=1, description='around a field; "": none is used')
    ] = None
    escape: Annotated[
        str | None, Field(max_length=1, description="before a quote inside a quoted field")
    ] = None
    header: Annotated[bool | None, Field(description="whether the first line names columns")] = None
    columns: Annotated[tuple[str, ...], Field(description="names where there is no header")] = ()
    encoding: Annotated[str | None, Field(description="such as utf-8, utf-16 or latin-1")] = None

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str | None) -> str | None:
        try:
            if value is not None:
                codecs.lookup(value)
        except LookupError:
            raise ValueError(
                f"expected the name of a text encoding that Python knows, found {value!r}"
            ) from None
        return value


class FileSource(_Section):
    """`[sources.<name>]` with `kind = "files"`: a watched folder."""

    kind: Annotated[Literal["files"], Field(description="a watched folder")]
    path: Annotated[str, Field(description="a folder, relative to the project")]
    stream: Annotated[str, Field(description="where its records go")]
    patterns: Annotated[
        tuple[str, ...], Field(min_length=1, description="names of the files to take")
    ] = (
        "*.csv",
        "*.tsv",
        "*.ndjson",
        "*.jsonl",
        "*.json",
    )
    settle: Annotated[
        Seconds,
        Field(ge=0, description="a file unchanged for so long, or renamed into place, is complete"),
    ] = 2.0
    watch: Annotated[
        Literal["auto", "events", "polling"],
        Field(
            description="how `up` hears of new files: by the system's events, or by looking each"
            " second; auto: events, and polling where they stay silent (network folders)"
        ),
    ] = "auto"
    every: Annotated[
        Seconds | None,
        Field(ge=1, description="look on this schedule (Dagster's) instead of watching"),
    ] = None
    format: Annotated[
        Literal["csv", "ndjson", "json"] | None, Field(description="found from name and content")
    ] = None
    csv: Annotated[CsvOptions, Field(description="how its CSV files are written")] = CsvOptions()

    _check_stream = field_validator("stream")(check_name)


class ConsumeSection(_Section):
    """`[consume]`: a micro-batch closes on rows, bytes or age, whichever comes first."""

    batch_rows: Annotated[int, Field(ge=1, description="records in it")] = 100_000
    batch_bytes: Annotated[Bytes, Field(ge=1, description="bytes of their values")] = 64_000_000
    batch_age: Annotated[Seconds, Field(gt=0, description="since its first record")] = 1.0
    session_timeout: Annotated[
        Seconds, Field(ge=1, description="a consumer silent for so long is taken for dead")
    ] = 10.0


class ProduceSection(_Section):
    """`[produce]`: the role that takes deliveries in, under `up`."""

    scan_every: Annotated[
        Seconds, Field(ge=1, description="look at every watched folder, whatever events said")
    ] = 30.0
    url: Annotated[
        str | None,
        Field(description="where other roles reach it, on other machines; else as `up` recorded"),
    ] = None


class OrchestrateSection(_Section):
    """`[orchestrate]`: Dagster, under `up`."""

    linger: Annotated[
        Seconds,
        Field(ge=0, description="a refresh run goes on with what comes for so long after it began"),
    ] = 45.0
    keep_runs: Annotated[Seconds, Field(ge=60, description="runs and their logs")] = 7 * 86_400.0
    keep_ticks: Annotated[
        Seconds, Field(ge=86_400, description="ticks of sensors and schedules, in whole days")
    ] = 86_400.0
    max_quarantined_share: Annotated[
        float, Field(ge=0, le=1, description="of a date's records; above it its check fails")
    ] = 0.05


class SpoolSection(_Section):
    """`[spool]`: the raw zone."""

    keep: Annotated[Seconds, Field(ge=0, description="after a delivery has landed")] = 30 * 86_400.0


class _SettingsOfSections(EnvSettingsSource):
    """`HEADRACE_<SECTION>__<KEY>` alone: HEADRACE_PROJECT is a folder, no section as JSON."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """No value for a section as a whole; those of its keys are added to it."""
        _, key, is_complex = super().get_field_value(field, field_name)
        return None, key, is_complex


class Settings(BaseSettings):
    """A whole `headrace.toml` with its overrides."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
    )

    project: ProjectSection
    lake: LakeSection = LakeSection()
    broker: BrokerSection = BrokerSection()
    sources: dict[str, FileSource] = {}
    produce: ProduceSection = ProduceSection()
    consume: ConsumeSection = ConsumeSection()
    orchestrate: OrchestrateSection = OrchestrateSection()
    spool: SpoolSection = SpoolSection()

    @field_validator("sources")
    @classmethod
    def _source_names(cls, value: dict[str, FileSource]) -> dict[str, FileSource]:
        for name in value:
            check_name(name)
        return value

    @field_validator("sources")
    @classmethod
    def _sources_apart(cls, value: dict[str, FileSource]) -> dict[str, FileSource]:
        seen: dict[tuple[str, str, str], str] = {}
        for name, source in value.items():
            for pattern in source.patterns:
                place = (str(Path(source.path)), source.stream, pattern)
                if place in seen:
                    raise ValueError(
                        f"{seen[place]} and {name} take the same files ({source.path}/{pattern})"
                        f" to the same stream, where each record would be twice"
                    )
                seen[place] = name
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment first, then what the file said (given as init arguments)."""
        return _SettingsOfSections(settings_cls), init_settings


class Config(BaseModel):
    """A project's settings with its streams, and where it stands."""

    model_config = ConfigDict(
        frozen=True, arbitrary_types_allowed=True, ignored_types=(cached_property,)
    )

    root: Path
    settings: Settings
    streams: dict[str, Stream]

    @cached_property
    def paths(self) -> ProjectPaths:
        """The project's files and folders."""
        return ProjectPaths(self.root)

    @property
    def name(self) -> str:
        """The project's name."""
        return self.settings.project.name

    @property
    def lake_uri(self) -> str:
        """The lake's root: an absolute path for a local one."""
        uri = self.settings.lake.uri
        if "://" in uri:
            return uri.rstrip("/")
        return str((self.root / uri).resolve())

    @property
    def embedded_broker(self) -> bool:
        """Whether the project runs on its own broker."""
        return self.settings.broker.bootstrap_servers is None

    @property
    def consumer_group(self) -> str:
        """The group of the consumers that land the project's topics in bronze."""
        return f"{self.name}.bronze"

    def stream(self, name: str) -> Stream:
        """A stream's rules; the defaults where it has no file yet."""
        return self.streams.get(name) or Stream()

    @property
    def stream_names(self) -> tuple[str, ...]:
        """Every stream a source feeds or a file describes, sorted."""
        return tuple(
            sorted({source.stream for source in self.settings.sources.values()} | set(self.streams))
        )

    def first_date(self, stream: str) -> date:
        """The first date whose events the stream's silver accepts."""
        return self.stream(stream).first_date or self.settings.project.first_date

    def topic(self, stream: str) -> str:
        """The stream's topic."""
        return topic_name(self.name, stream)

    def sources_of(self, stream: str) -> dict[str, FileSource]:
        """The sources that feed a stream, by name."""
        return {n: s for n, s in self.settings.sources.items() if s.stream == stream}
