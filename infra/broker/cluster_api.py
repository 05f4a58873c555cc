"""ApiVersions, Metadata, DescribeCluster and DescribeConfigs: what the broker says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kio.schema.api_versions.v4.response import ApiVersion, ApiVersionsResponse
from kio.schema.describe_cluster.v2.response import (
    DescribeClusterBroker,
    DescribeClusterResponse,
)
from kio.schema.describe_configs.v4.response import (
    DescribeConfigsResourceResult,
    DescribeConfigsResponse,
    DescribeConfigsResult,
)
from kio.schema.errors import ErrorCode
from kio.schema.metadata.v13.response import (
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponsePartition,
    MetadataResponseTopic,
)
from kio.schema.types import TopicName
from kio.static.primitive import i8, i16, i32

from headrace.infra.broker import wire
from headrace.infra.broker.call import LEADER_EPOCH, NO_THROTTLE, NODE_ID, Call, Handler
from headrace.infra.broker.configs import Config, broker_configs, topic_configs
from headrace.infra.broker.errors import RequestRefusedError

if TYPE_CHECKING:
    from uuid import UUID

    from kio.schema.api_versions.v4.request import ApiVersionsRequest
    from kio.schema.describe_cluster.v2.request import DescribeClusterRequest
    from kio.schema.describe_configs.v4.request import (
        DescribeConfigsRequest,
        DescribeConfigsResource,
    )
    from kio.schema.metadata.v13.request import MetadataRequest

    from headrace.infra.broker.folder import DataFolder
    from headrace.infra.broker.settings import BrokerSettings
    from headrace.infra.broker.topics import Topic, Topics

_TOPIC: Final = 2
_BROKER: Final = 4
_BROKERS_ENDPOINT: Final = 1


class ClusterApi:
    """Handlers that describe the node, its topics and its settings."""

    def __init__(self, folder: DataFolder, topics: Topics, settings: BrokerSettings) -> None:
        self._folder = folder
        self._topics = topics
        self._settings = settings

    def routes(self) -> dict[int, Handler]:
        """The handlers by API key."""
        return {
            wire.METADATA: self.metadata,
            wire.API_VERSIONS: self.api_versions,
            wire.DESCRIBE_CONFIGS: self.describe_configs,
            wire.DESCRIBE_CLUSTER: self.describe_cluster,
        }

    async def api_versions(
        self, _request: ApiVersionsRequest | None, call: Call
    ) -> ApiVersionsResponse:
        """What is offered; also the answer to an unknown version of this very request."""
        known = wire.APIS[wire.API_VERSIONS].takes(call.version)
        return ApiVersionsResponse(
            error_code=ErrorCode.none if known else ErrorCode.unsupported_version,
            api_keys=tuple(
                ApiVersion(
                    api_key=i16(api.key),
                    min_version=i16(api.advertised_oldest),
                    max_version=i16(api.newest),
                )
                for api in wire.APIS.values()
            ),
            throttle_time=NO_THROTTLE,
        )

    async def metadata(self, request: MetadataRequest, call: Call) -> MetadataResponse:
        """The node and the topics asked for, or all; may create what is missing."""
        asks_all = request.topics is None or (call.version == 0 and not request.topics)
        if asks_all:
            topics = tuple(_described(topic) for topic in self._topics)
        else:
            may_create = self._settings.auto_create_topics and (
                request.allow_auto_topic_creation or call.version < 4
            )
            topics = tuple(
                self._metadata_of(asked.name, asked.topic_id, may_create=may_create)
                for asked in dict.fromkeys(request.topics or ())
            )
        return MetadataResponse(
            throttle_time=NO_THROTTLE,
            brokers=(MetadataResponseBroker(node_id=NODE_ID, host=call.host, port=i32(call.port)),),
            cluster_id=self._folder.cluster_id,
            controller_id=NODE_ID,
            topics=topics,
            error_code=ErrorCode.none,
        )

    def _metadata_of(
        self, name: TopicName | None, topic_id: UUID | None, *, may_create: bool
    ) -> MetadataResponseTopic:
        if name is None:
            topic = self._topics.by_id(topic_id) if topic_id is not None else None
            if topic is None:
                return _missing(TopicName(""), topic_id, ErrorCode.unknown_topic_id)
            return _described(topic)
        topic = self._topics.get(name)
        if topic is not None:
            return _described(topic)
        try:
            self._topics.check_new(name, -1)
            if not may_create:
                return _missing(name, None, ErrorCode.unknown_topic_or_partition)
            self._folder.check_in_place()
            return _described(self._topics.create(name, -1))
        except RequestRefusedError as refused:
            return _missing(name, None, refused.code)

    async def describe_configs(
        self, request: DescribeConfigsRequest, _call: Call
    ) -> DescribeConfigsResponse:
        """The settings of the broker or a topic under Kafka's names, all read-only."""
        results = tuple(self._configs_of(asked) for asked in request.resources)
        return DescribeConfigsResponse(throttle_time=NO_THROTTLE, results=results)

    def _configs_of(self, asked: DescribeConfigsResource) -> DescribeConfigsResult:
        code, message = ErrorCode.none, None
        configs: tuple[Config, ...] = ()
        if asked.resource_type == _BROKER:
            configs = broker_configs(self._settings)
        elif asked.resource_type != _TOPIC:
            code, message = ErrorCode.invalid_request, "only topics and the broker have configs"
        elif (topic := self._topics.get(asked.resource_name)) is None:
            code = ErrorCode.unknown_topic_or_partition
            message = f"there is no topic {asked.resource_name}"
        else:
            configs = topic_configs(self._settings, topic.configs)
        wanted = asked.configuration_keys
        return DescribeConfigsResult(
            error_code=code,
            error_message=message,
            resource_type=asked.resource_type,
            resource_name=asked.resource_name,
            configs=tuple(
                DescribeConfigsResourceResult(
                    name=config.name,
                    value=config.value,
                    read_only=True,
                    config_source=i8(config.source),
                    is_sensitive=False,
                    synonyms=(),
                    config_type=i8(config.kind),
                    documentation=None,
                )
                for config in configs
                if not wanted or config.name in wanted
            ),
        )

    async def describe_cluster(
        self, request: DescribeClusterRequest, call: Call
    ) -> DescribeClusterResponse:
        """One node, which is also the controller."""
        known = request.endpoint_type == _BROKERS_ENDPOINT
        broker = DescribeClusterBroker(
            broker_id=NODE_ID, host=call.host, port=i32(call.port), is_fenced=False
        )
        return DescribeClusterResponse(
            throttle_time=NO_THROTTLE,
            error_code=ErrorCode.none if known else ErrorCode.mismatched_endpoint_type,
            endpoint_type=request.endpoint_type,
            cluster_id=self._folder.cluster_id,
            controller_id=NODE_ID,
            brokers=(broker,) if known else (),
        )


def _described(topic: Topic) -> MetadataResponseTopic:
    return MetadataResponseTopic(
        error_code=ErrorCode.none,
        name=TopicName(topic.name),
        topic_id=topic.topic_id,
        partitions=tuple(
            MetadataResponsePartition(
                error_code=ErrorCode.none,
                partition_index=i32(index),
                leader_id=NODE_ID,
                leader_epoch=LEADER_EPOCH,
                replica_nodes=(NODE_ID,),
                isr_nodes=(NODE_ID,),
            )
            for index in range(len(topic.logs))
        ),
    )


def _missing(
    name: TopicName | None, topic_id: UUID | None, code: ErrorCode
) -> MetadataResponseTopic:
    return MetadataResponseTopic(error_code=code, name=name, topic_id=topic_id, partitions=())
