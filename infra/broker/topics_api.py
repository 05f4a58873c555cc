"""CreateTopics and DeleteTopics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kio.schema.create_topics.v7.response import (
    CreatableTopicConfigs,
    CreatableTopicResult,
    CreateTopicsResponse,
)
from kio.schema.delete_topics.v6.response import DeletableTopicResult, DeleteTopicsResponse
from kio.schema.errors import ErrorCode
from kio.schema.types import TopicName
from kio.static.primitive import i8, i16, i32

from headrace.infra.broker import wire
from headrace.infra.broker.call import NO_THROTTLE, NODE_ID, Call, Handler
from headrace.infra.broker.configs import own_configs, topic_configs
from headrace.infra.broker.errors import RequestRefusedError

if TYPE_CHECKING:
    from uuid import UUID

    from kio.schema.create_topics.v7.request import CreatableTopic, CreateTopicsRequest
    from kio.schema.delete_topics.v6.request import DeleteTopicsRequest, DeleteTopicState

    from headrace.infra.broker.arrivals import Arrivals
    from headrace.infra.broker.folder import DataFolder
    from headrace.infra.broker.offsets import GroupOffsets
    from headrace.infra.broker.settings import BrokerSettings
    from headrace.infra.broker.topics import Topics


class TopicsApi:
    """Handlers that make and remove topics."""

    def __init__(
        self,
        folder: DataFolder,
        topics: Topics,
        offsets: GroupOffsets,
        arrivals: Arrivals,
        settings: BrokerSettings,
    ) -> None:
        self._folder = folder
        self._topics = topics
        self._offsets = offsets
        self._arrivals = arrivals
        self._settings = settings

    def routes(self) -> dict[int, Handler]:
        """The handlers by API key."""
        return {wire.CREATE_TOPICS: self.create_topics, wire.DELETE_TOPICS: self.delete_topics}

    async def create_topics(
        self, request: CreateTopicsRequest, _call: Call
    ) -> CreateTopicsResponse:
        """Make topics; one node, so a replication factor of 1."""
        names = [asked.name for asked in request.topics]
        results = []
        for asked in request.topics:
            try:
                _require_once(asked.name, names)
                results.append(self._create(asked, validate_only=request.validate_only))
            except RequestRefusedError as refused:
                results.append(
                    CreatableTopicResult(
                        name=asked.name,
                        topic_id=None,
                        error_code=refused.code,
                        error_message=refused.message,
                        configs=None,
                    )
                )
        return CreateTopicsResponse(throttle_time=NO_THROTTLE, topics=tuple(results))

    def _create(self, asked: CreatableTopic, *, validate_only: bool) -> CreatableTopicResult:
        partitions = _partitions_asked(asked)
        if asked.replication_factor not in {-1, 1} and not asked.assignments:
            raise RequestRefusedError(
                ErrorCode.invalid_replication_factor,
                f"replication factor {asked.replication_factor} found, 1 expected: "
                "the embedded broker is one node",
            )
        wanted = {config.name: config.value or "" for config in asked.configs}
        configs = own_configs(wanted, self._settings)
        count, topic_id = self._topics.check_new(asked.name, partitions), None
        if not validate_only:
            self._folder.check_in_place()
            topic_id = self._topics.create(asked.name, partitions, configs).topic_id
        return CreatableTopicResult(
            name=asked.name,
            topic_id=topic_id,
            error_code=ErrorCode.none,
            error_message=None,
            num_partitions=i32(count),
            replication_factor=i16(1),
            configs=tuple(
                CreatableTopicConfigs(
                    name=config.name,
                    value=config.value,
                    read_only=True,
                    config_source=i8(config.source),
                    is_sensitive=False,
                )
                for config in topic_configs(self._settings, configs)
            ),
        )

    async def delete_topics(
        self, request: DeleteTopicsRequest, _call: Call
    ) -> DeleteTopicsResponse:
        """Remove topics, their data, and what groups have committed in them."""
        results = tuple(self._delete(asked) for asked in request.topics)
        return DeleteTopicsResponse(throttle_time=NO_THROTTLE, responses=results)

    def _delete(self, asked: DeleteTopicState) -> DeletableTopicResult:
        name, message, code = asked.name, None, ErrorCode.none
        try:
            name = name or self._name_of(asked.topic_id)
            self._folder.check_in_place()
            if self._topics.get(name) is not None:
                # First what points into the topic, so that a new one of its name starts clean.
                self._offsets.forget_topic(name)
            for log in self._topics.delete(name).logs:
                self._arrivals.wake(log)
        except RequestRefusedError as refused:
            code, message = refused.code, refused.message
        except OSError as error:
            code, message = ErrorCode.kafka_storage_error, str(error)
        return DeletableTopicResult(
            name=name, topic_id=asked.topic_id, error_code=code, error_message=message
        )

    def _name_of(self, topic_id: UUID | None) -> TopicName:
        topic = self._topics.by_id(topic_id) if topic_id is not None else None
        if topic is None:
            raise RequestRefusedError(ErrorCode.unknown_topic_id, "no topic has this id")
        return TopicName(topic.name)


def _require_once(name: str, names: list[TopicName]) -> None:
    if names.count(TopicName(name)) > 1:
        raise RequestRefusedError(
            ErrorCode.invalid_request, f"{name} is named twice in one request"
        )


def _partitions_asked(asked: CreatableTopic) -> int:
    """The number of topic partitions, given as such or by assigning each to this node."""
    if not asked.assignments:
        return asked.num_partitions
    indexes = sorted(assignment.partition_index for assignment in asked.assignments)
    nodes = {node for assignment in asked.assignments for node in assignment.broker_ids}
    if indexes != list(range(len(indexes))) or nodes != {NODE_ID}:
        raise RequestRefusedError(
            ErrorCode.invalid_replica_assignment, f"node {NODE_ID} is the only one"
        )
    return len(indexes)
