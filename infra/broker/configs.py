"""The broker's settings under the names Kafka's admin clients know."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from kio.schema.errors import ErrorCode

from headrace.infra.broker.errors import RequestRefusedError
from headrace.infra.broker.topic_rules import OWN_CONFIGS, Keep

if TYPE_CHECKING:
    from headrace.infra.broker.settings import BrokerSettings
    from headrace.infra.broker.topic_rules import TopicConfigs

_OF_THE_TOPIC: Final = 1
_STATIC_BROKER: Final = 4
_DEFAULT: Final = 5
_BOOLEAN, _STRING, _INT, _LONG, _LIST = 1, 2, 3, 5, 7


@dataclass(frozen=True, slots=True)
class Config:
    """One entry; `source` and `kind` are the protocol's numbers."""

    name: str
    value: str
    kind: int
    source: int = _STATIC_BROKER


def topic_configs(settings: BrokerSettings, own: TopicConfigs) -> tuple[Config, ...]:
    """What holds for a topic that was told `own`."""
    return tuple(
        replace(config, value=own[config.name], source=_OF_THE_TOPIC)
        if config.name in own
        else config
        for config in _every_topics(settings)
    )


def own_configs(asked: TopicConfigs, settings: BrokerSettings) -> TopicConfigs:
    """What of the configs asked for a new topic is its own.

    Raises RequestRefusedError (40) where the broker's setting is asked to be another.
    """
    given = {config.name: config.value for config in _every_topics(settings)}
    for name, value in asked.items():
        if name not in OWN_CONFIGS and value != given.get(name):
            raise RequestRefusedError(
                ErrorCode.invalid_config,
                f"{name} = {value} found: all topics of the embedded broker have the broker's"
                f" settings, {name} = {given.get(name, 'unknown')}",
            )
    own = {name: value for name, value in asked.items() if name in OWN_CONFIGS}
    Keep.of(own, settings)
    return own


def _every_topics(settings: BrokerSettings) -> tuple[Config, ...]:
    return (
        Config("cleanup.policy", "delete", _LIST, _DEFAULT),
        Config("compression.type", "producer", _STRING, _DEFAULT),
        Config("max.message.bytes", str(settings.max_message_bytes), _INT),
        Config("message.timestamp.type", "CreateTime", _STRING, _DEFAULT),
        Config("min.insync.replicas", "1", _INT, _DEFAULT),
        Config("retention.bytes", _or_unlimited(settings.retention_bytes), _LONG),
        Config("retention.ms", _milliseconds(settings.retention_seconds), _LONG),
        Config("segment.bytes", str(settings.segment_bytes), _INT),
        Config("segment.ms", _milliseconds(settings.segment_seconds), _LONG),
    )


def broker_configs(settings: BrokerSettings) -> tuple[Config, ...]:
    """What holds for the broker."""
    return (
        Config("auto.create.topics.enable", str(settings.auto_create_topics).lower(), _BOOLEAN),
        Config("default.replication.factor", "1", _INT, _DEFAULT),
        Config("log.retention.bytes", _or_unlimited(settings.retention_bytes), _LONG),
        Config("log.retention.ms", _milliseconds(settings.retention_seconds), _LONG),
        Config("log.roll.ms", _milliseconds(settings.segment_seconds), _LONG),
        Config("log.segment.bytes", str(settings.segment_bytes), _INT),
        Config("message.max.bytes", str(settings.max_message_bytes), _INT),
        Config("num.partitions", str(settings.default_partitions), _INT),
    )


def _or_unlimited(value: int | None) -> str:
    return "-1" if value is None else str(value)


def _milliseconds(seconds: float | None) -> str:
    return "-1" if seconds is None else str(round(seconds * 1000))
