"""`headrace.toml`: everything a project can be told, checked before anything starts.

Values come, in this order of strength, from the environment (`HEADRACE_LAKE__URI`), the project's
`.env`, the file. `{ env = "NAME" }` anywhere in the file stands for that variable.
"""

from __future__ import annotations

import re
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, Tag, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from headrace.config_api import ApiSource
from headrace.config_files import FileSource
from headrace.config_section import BY_KIND, Section, check_name
from headrace.config_watched import check_apart, check_move_targets
from headrace.config_webhook import WebhookSource
from headrace.event import topic_name
from headrace.paths import ProjectPaths
from headrace.stream import Stream
from headrace.units import Bytes, Seconds

ENV_PREFIX = "HEADRACE_"

Source = Annotated[
    Annotated[FileSource, Tag("files")]
    | Annotated[ApiSource, Tag("api")]
    | Annotated[WebhookSource, Tag("webhook")],
    BY_KIND,
]


class ProjectSection(Section):
    """`[project]`."""

    name: Annotated[str, Field(description="prefix of its topics")]
    first_date: Annotated[
        date, Field(description="the first partition; events before it are quarantined")
    ] = date(1970, 1, 1)

    _check_name = field_validator("name")(check_name)


class LakeSection(Section):
    """`[lake]`."""

    uri: Annotated[str, Field(description="a folder, or s3://bucket/prefix")] = "./lake"
    options: Annotated[
        dict[str, str], Field(description="storage options, as delta-rs names them")
    ] = Field(default_factory=dict)


class BrokerSection(Section):
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


class ConsumeSection(Section):
    """`[consume]`: a micro-batch closes on rows, bytes or age, whichever comes first."""

    batch_rows: Annotated[int, Field(ge=1, description="records in it")] = 50_000
    batch_bytes: Annotated[Bytes, Field(ge=1, description="bytes of their values")] = 64_000_000
    batch_age: Annotated[Seconds, Field(gt=0, description="since its first record")] = 1.0
    session_timeout: Annotated[
        Seconds, Field(ge=1, description="a consumer silent for so long is taken for dead")
    ] = 10.0


class ProduceSection(Section):
    """`[produce]`: the role that takes deliveries in, under `up`."""

    scan_every: Annotated[
        Seconds, Field(ge=1, description="look at every watched folder, whatever events said")
    ] = 30.0
    url: Annotated[
        str | None,
        Field(description="where other roles reach it, on other machines; else as `up` recorded"),
    ] = None
    port: Annotated[
        int, Field(ge=0, le=65_535, description="its HTTP port, with `/hooks/`, under `up`; 0: any")
    ] = 0
    token: Annotated[
        SecretStr | None,
        Field(description='`{ env = "NAME" }`: whoever asks it over HTTP has to know it'),
    ] = None

    @field_validator("token")
    @classmethod
    def _check_token(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch("[!-~]{16,}", value.get_secret_value()):
            raise ValueError("expected 16 or more letters, digits and signs of ASCII, no blanks")
        return value


class OrchestrateSection(Section):
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


class SpoolSection(Section):
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
    sources: dict[str, Source] = {}
    produce: ProduceSection = ProduceSection()
    consume: ConsumeSection = ConsumeSection()
    orchestrate: OrchestrateSection = OrchestrateSection()
    spool: SpoolSection = SpoolSection()

    @field_validator("sources")
    @classmethod
    def _source_names(cls, value: dict[str, Source]) -> dict[str, Source]:
        for name in value:
            try:
                check_name(name)
            except ValueError as error:
                raise ValueError(f"{name!r}: {error}") from None
        return value

    @field_validator("sources")
    @classmethod
    def _sources_apart(cls, value: dict[str, Source]) -> dict[str, Source]:
        folders = {n: s for n, s in value.items() if isinstance(s, FileSource)}
        check_apart(folders)
        check_move_targets(folders)
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

    @property
    def file_sources(self) -> dict[str, FileSource]:
        """The sources that are watched folders, by name."""
        sources = self.settings.sources.items()
        return {name: source for name, source in sources if isinstance(source, FileSource)}

    def file_sources_of(self, stream: str) -> dict[str, FileSource]:
        """The watched folders that feed a stream, by name."""
        return {n: s for n, s in self.file_sources.items() if s.stream == stream}
