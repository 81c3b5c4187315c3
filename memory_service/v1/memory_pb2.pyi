from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LatentDtype(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LATENT_DTYPE_UNSPECIFIED: _ClassVar[LatentDtype]
    LATENT_DTYPE_BFLOAT16: _ClassVar[LatentDtype]
    LATENT_DTYPE_FLOAT16: _ClassVar[LatentDtype]
    LATENT_DTYPE_FLOAT32: _ClassVar[LatentDtype]

class EventKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EVENT_KIND_UNSPECIFIED: _ClassVar[EventKind]
    EVENT_KIND_WATCHING: _ClassVar[EventKind]
    EVENT_KIND_CREATED: _ClassVar[EventKind]
    EVENT_KIND_APPENDED: _ClassVar[EventKind]
    EVENT_KIND_RETRIEVED: _ClassVar[EventKind]
    EVENT_KIND_FORKED: _ClassVar[EventKind]
    EVENT_KIND_TRUNCATED: _ClassVar[EventKind]
    EVENT_KIND_SEALED: _ClassVar[EventKind]
    EVENT_KIND_IMPORTED: _ClassVar[EventKind]
    EVENT_KIND_DROPPED: _ClassVar[EventKind]
    EVENT_KIND_EXPIRED: _ClassVar[EventKind]
    EVENT_KIND_FENCED: _ClassVar[EventKind]
    EVENT_KIND_LOST: _ClassVar[EventKind]
LATENT_DTYPE_UNSPECIFIED: LatentDtype
LATENT_DTYPE_BFLOAT16: LatentDtype
LATENT_DTYPE_FLOAT16: LatentDtype
LATENT_DTYPE_FLOAT32: LatentDtype
EVENT_KIND_UNSPECIFIED: EventKind
EVENT_KIND_WATCHING: EventKind
EVENT_KIND_CREATED: EventKind
EVENT_KIND_APPENDED: EventKind
EVENT_KIND_RETRIEVED: EventKind
EVENT_KIND_FORKED: EventKind
EVENT_KIND_TRUNCATED: EventKind
EVENT_KIND_SEALED: EventKind
EVENT_KIND_IMPORTED: EventKind
EVENT_KIND_DROPPED: EventKind
EVENT_KIND_EXPIRED: EventKind
EVENT_KIND_FENCED: EventKind
EVENT_KIND_LOST: EventKind

class VideoKey(_message.Message):
    __slots__ = ("pool", "video")
    POOL_FIELD_NUMBER: _ClassVar[int]
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    pool: str
    video: str
    def __init__(self, pool: _Optional[str] = ..., video: _Optional[str] = ...) -> None: ...

class Span(_message.Message):
    __slots__ = ("start", "stop")
    START_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    start: int
    stop: int
    def __init__(self, start: _Optional[int] = ..., stop: _Optional[int] = ...) -> None: ...

class Handle(_message.Message):
    __slots__ = ("key", "epoch", "frame")
    KEY_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    key: VideoKey
    epoch: int
    frame: int
    def __init__(self, key: _Optional[_Union[VideoKey, _Mapping]] = ..., epoch: _Optional[int] = ..., frame: _Optional[int] = ...) -> None: ...

class VideoSpec(_message.Message):
    __slots__ = ("embedding_dim", "latent_dtype", "latent_shape", "encoder_id", "metadata", "named_dims")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class NamedDimsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    EMBEDDING_DIM_FIELD_NUMBER: _ClassVar[int]
    LATENT_DTYPE_FIELD_NUMBER: _ClassVar[int]
    LATENT_SHAPE_FIELD_NUMBER: _ClassVar[int]
    ENCODER_ID_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    NAMED_DIMS_FIELD_NUMBER: _ClassVar[int]
    embedding_dim: int
    latent_dtype: LatentDtype
    latent_shape: _containers.RepeatedScalarFieldContainer[int]
    encoder_id: str
    metadata: _containers.ScalarMap[str, str]
    named_dims: _containers.ScalarMap[str, int]
    def __init__(self, embedding_dim: _Optional[int] = ..., latent_dtype: _Optional[_Union[LatentDtype, str]] = ..., latent_shape: _Optional[_Iterable[int]] = ..., encoder_id: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., named_dims: _Optional[_Mapping[str, int]] = ...) -> None: ...

class VideoState(_message.Message):
    __slots__ = ("epoch", "length", "durable")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    DURABLE_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    length: int
    durable: int
    def __init__(self, epoch: _Optional[int] = ..., length: _Optional[int] = ..., durable: _Optional[int] = ...) -> None: ...

class Video(_message.Message):
    __slots__ = ("key", "spec", "state", "created_unix_ms", "parent", "sealed", "num_bytes")
    KEY_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CREATED_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    NUM_BYTES_FIELD_NUMBER: _ClassVar[int]
    key: VideoKey
    spec: VideoSpec
    state: VideoState
    created_unix_ms: int
    parent: Parent
    sealed: bool
    num_bytes: int
    def __init__(self, key: _Optional[_Union[VideoKey, _Mapping]] = ..., spec: _Optional[_Union[VideoSpec, _Mapping]] = ..., state: _Optional[_Union[VideoState, _Mapping]] = ..., created_unix_ms: _Optional[int] = ..., parent: _Optional[_Union[Parent, _Mapping]] = ..., sealed: _Optional[bool] = ..., num_bytes: _Optional[int] = ...) -> None: ...

class Parent(_message.Message):
    __slots__ = ("key", "epoch", "length")
    KEY_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    key: VideoKey
    epoch: int
    length: int
    def __init__(self, key: _Optional[_Union[VideoKey, _Mapping]] = ..., epoch: _Optional[int] = ..., length: _Optional[int] = ...) -> None: ...

class PoolSpec(_message.Message):
    __slots__ = ("max_bytes", "max_videos", "ttl_ms")
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_VIDEOS_FIELD_NUMBER: _ClassVar[int]
    TTL_MS_FIELD_NUMBER: _ClassVar[int]
    max_bytes: int
    max_videos: int
    ttl_ms: int
    def __init__(self, max_bytes: _Optional[int] = ..., max_videos: _Optional[int] = ..., ttl_ms: _Optional[int] = ...) -> None: ...

class PoolUsage(_message.Message):
    __slots__ = ("num_bytes", "num_videos", "hot_videos", "index_bytes")
    NUM_BYTES_FIELD_NUMBER: _ClassVar[int]
    NUM_VIDEOS_FIELD_NUMBER: _ClassVar[int]
    HOT_VIDEOS_FIELD_NUMBER: _ClassVar[int]
    INDEX_BYTES_FIELD_NUMBER: _ClassVar[int]
    num_bytes: int
    num_videos: int
    hot_videos: int
    index_bytes: int
    def __init__(self, num_bytes: _Optional[int] = ..., num_videos: _Optional[int] = ..., hot_videos: _Optional[int] = ..., index_bytes: _Optional[int] = ...) -> None: ...

class Pool(_message.Message):
    __slots__ = ("pool", "spec", "usage")
    POOL_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    pool: str
    spec: PoolSpec
    usage: PoolUsage
    def __init__(self, pool: _Optional[str] = ..., spec: _Optional[_Union[PoolSpec, _Mapping]] = ..., usage: _Optional[_Union[PoolUsage, _Mapping]] = ...) -> None: ...

class Part(_message.Message):
    __slots__ = ("name", "payloads", "local")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PAYLOADS_FIELD_NUMBER: _ClassVar[int]
    LOCAL_FIELD_NUMBER: _ClassVar[int]
    name: str
    payloads: _containers.RepeatedScalarFieldContainer[bytes]
    local: _containers.RepeatedCompositeFieldContainer[LocalPayload]
    def __init__(self, name: _Optional[str] = ..., payloads: _Optional[_Iterable[bytes]] = ..., local: _Optional[_Iterable[_Union[LocalPayload, _Mapping]]] = ...) -> None: ...

class LocalPayload(_message.Message):
    __slots__ = ("offset", "length")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    offset: int
    length: int
    def __init__(self, offset: _Optional[int] = ..., length: _Optional[int] = ...) -> None: ...

class NamedEmbeddings(_message.Message):
    __slots__ = ("name", "embeddings")
    NAME_FIELD_NUMBER: _ClassVar[int]
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    name: str
    embeddings: bytes
    def __init__(self, name: _Optional[str] = ..., embeddings: _Optional[bytes] = ...) -> None: ...

class Block(_message.Message):
    __slots__ = ("start", "embeddings", "parts", "named", "metadata", "unix_ms")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    START_FIELD_NUMBER: _ClassVar[int]
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    NAMED_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    start: int
    embeddings: bytes
    parts: _containers.RepeatedCompositeFieldContainer[Part]
    named: _containers.RepeatedCompositeFieldContainer[NamedEmbeddings]
    metadata: _containers.ScalarMap[str, str]
    unix_ms: int
    def __init__(self, start: _Optional[int] = ..., embeddings: _Optional[bytes] = ..., parts: _Optional[_Iterable[_Union[Part, _Mapping]]] = ..., named: _Optional[_Iterable[_Union[NamedEmbeddings, _Mapping]]] = ..., metadata: _Optional[_Mapping[str, str]] = ..., unix_ms: _Optional[int] = ...) -> None: ...

class Payload(_message.Message):
    __slots__ = ("name", "data", "crc32c", "local")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    CRC32C_FIELD_NUMBER: _ClassVar[int]
    LOCAL_FIELD_NUMBER: _ClassVar[int]
    name: str
    data: bytes
    crc32c: int
    local: ReelExtent
    def __init__(self, name: _Optional[str] = ..., data: _Optional[bytes] = ..., crc32c: _Optional[int] = ..., local: _Optional[_Union[ReelExtent, _Mapping]] = ...) -> None: ...

class ReelExtent(_message.Message):
    __slots__ = ("path", "inode", "offset", "length")
    PATH_FIELD_NUMBER: _ClassVar[int]
    INODE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    path: str
    inode: int
    offset: int
    length: int
    def __init__(self, path: _Optional[str] = ..., inode: _Optional[int] = ..., offset: _Optional[int] = ..., length: _Optional[int] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("handle", "embedding", "payloads", "named", "metadata", "unix_ms")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    PAYLOADS_FIELD_NUMBER: _ClassVar[int]
    NAMED_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    handle: Handle
    embedding: bytes
    payloads: _containers.RepeatedCompositeFieldContainer[Payload]
    named: _containers.RepeatedCompositeFieldContainer[NamedEmbeddings]
    metadata: _containers.ScalarMap[str, str]
    unix_ms: int
    def __init__(self, handle: _Optional[_Union[Handle, _Mapping]] = ..., embedding: _Optional[bytes] = ..., payloads: _Optional[_Iterable[_Union[Payload, _Mapping]]] = ..., named: _Optional[_Iterable[_Union[NamedEmbeddings, _Mapping]]] = ..., metadata: _Optional[_Mapping[str, str]] = ..., unix_ms: _Optional[int] = ...) -> None: ...

class Query(_message.Message):
    __slots__ = ("embedding", "frame", "k", "eligible", "policy", "filter", "terms", "weight")
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    ELIGIBLE_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    embedding: bytes
    frame: int
    k: int
    eligible: Span
    policy: Policy
    filter: Filter
    terms: _containers.RepeatedCompositeFieldContainer[Term]
    weight: float
    def __init__(self, embedding: _Optional[bytes] = ..., frame: _Optional[int] = ..., k: _Optional[int] = ..., eligible: _Optional[_Union[Span, _Mapping]] = ..., policy: _Optional[_Union[Policy, _Mapping]] = ..., filter: _Optional[_Union[Filter, _Mapping]] = ..., terms: _Optional[_Iterable[_Union[Term, _Mapping]]] = ..., weight: _Optional[float] = ...) -> None: ...

class Policy(_message.Message):
    __slots__ = ("min_gap_frames", "mmr_lambda", "min_score", "pinned_frames", "max_pinned")
    MIN_GAP_FRAMES_FIELD_NUMBER: _ClassVar[int]
    MMR_LAMBDA_FIELD_NUMBER: _ClassVar[int]
    MIN_SCORE_FIELD_NUMBER: _ClassVar[int]
    PINNED_FRAMES_FIELD_NUMBER: _ClassVar[int]
    MAX_PINNED_FIELD_NUMBER: _ClassVar[int]
    min_gap_frames: int
    mmr_lambda: float
    min_score: float
    pinned_frames: _containers.RepeatedScalarFieldContainer[int]
    max_pinned: int
    def __init__(self, min_gap_frames: _Optional[int] = ..., mmr_lambda: _Optional[float] = ..., min_score: _Optional[float] = ..., pinned_frames: _Optional[_Iterable[int]] = ..., max_pinned: _Optional[int] = ...) -> None: ...

class Filter(_message.Message):
    __slots__ = ("metadata", "after_unix_ms", "before_unix_ms")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    METADATA_FIELD_NUMBER: _ClassVar[int]
    AFTER_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    BEFORE_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    metadata: _containers.ScalarMap[str, str]
    after_unix_ms: int
    before_unix_ms: int
    def __init__(self, metadata: _Optional[_Mapping[str, str]] = ..., after_unix_ms: _Optional[int] = ..., before_unix_ms: _Optional[int] = ...) -> None: ...

class Term(_message.Message):
    __slots__ = ("name", "embedding", "weight")
    NAME_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    name: str
    embedding: bytes
    weight: float
    def __init__(self, name: _Optional[str] = ..., embedding: _Optional[bytes] = ..., weight: _Optional[float] = ...) -> None: ...

class Scope(_message.Message):
    __slots__ = ("videos", "pool")
    VIDEOS_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    videos: _containers.RepeatedCompositeFieldContainer[ScopeVideo]
    pool: bool
    def __init__(self, videos: _Optional[_Iterable[_Union[ScopeVideo, _Mapping]]] = ..., pool: _Optional[bool] = ...) -> None: ...

class ScopeVideo(_message.Message):
    __slots__ = ("key", "eligible")
    KEY_FIELD_NUMBER: _ClassVar[int]
    ELIGIBLE_FIELD_NUMBER: _ClassVar[int]
    key: VideoKey
    eligible: Span
    def __init__(self, key: _Optional[_Union[VideoKey, _Mapping]] = ..., eligible: _Optional[_Union[Span, _Mapping]] = ...) -> None: ...

class Hit(_message.Message):
    __slots__ = ("handle", "score", "pinned")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    PINNED_FIELD_NUMBER: _ClassVar[int]
    handle: Handle
    score: float
    pinned: bool
    def __init__(self, handle: _Optional[_Union[Handle, _Mapping]] = ..., score: _Optional[float] = ..., pinned: _Optional[bool] = ...) -> None: ...

class HitList(_message.Message):
    __slots__ = ("hits",)
    HITS_FIELD_NUMBER: _ClassVar[int]
    hits: _containers.RepeatedCompositeFieldContainer[Hit]
    def __init__(self, hits: _Optional[_Iterable[_Union[Hit, _Mapping]]] = ...) -> None: ...

class Retrieval(_message.Message):
    __slots__ = ("epoch", "length", "query_frame", "eligible", "k", "policy", "frames", "scores", "search_us", "unix_ms", "videos", "num_candidates", "runner_up_frames", "runner_up_scores")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    QUERY_FRAME_FIELD_NUMBER: _ClassVar[int]
    ELIGIBLE_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    SEARCH_US_FIELD_NUMBER: _ClassVar[int]
    UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    VIDEOS_FIELD_NUMBER: _ClassVar[int]
    NUM_CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    RUNNER_UP_FRAMES_FIELD_NUMBER: _ClassVar[int]
    RUNNER_UP_SCORES_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    length: int
    query_frame: int
    eligible: Span
    k: int
    policy: str
    frames: _containers.RepeatedScalarFieldContainer[int]
    scores: _containers.RepeatedScalarFieldContainer[float]
    search_us: int
    unix_ms: int
    videos: _containers.RepeatedCompositeFieldContainer[VideoKey]
    num_candidates: int
    runner_up_frames: _containers.RepeatedScalarFieldContainer[int]
    runner_up_scores: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, epoch: _Optional[int] = ..., length: _Optional[int] = ..., query_frame: _Optional[int] = ..., eligible: _Optional[_Union[Span, _Mapping]] = ..., k: _Optional[int] = ..., policy: _Optional[str] = ..., frames: _Optional[_Iterable[int]] = ..., scores: _Optional[_Iterable[float]] = ..., search_us: _Optional[int] = ..., unix_ms: _Optional[int] = ..., videos: _Optional[_Iterable[_Union[VideoKey, _Mapping]]] = ..., num_candidates: _Optional[int] = ..., runner_up_frames: _Optional[_Iterable[int]] = ..., runner_up_scores: _Optional[_Iterable[float]] = ...) -> None: ...

class CreatePoolRequest(_message.Message):
    __slots__ = ("pool", "spec")
    POOL_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    pool: str
    spec: PoolSpec
    def __init__(self, pool: _Optional[str] = ..., spec: _Optional[_Union[PoolSpec, _Mapping]] = ...) -> None: ...

class CreatePoolResponse(_message.Message):
    __slots__ = ("pool",)
    POOL_FIELD_NUMBER: _ClassVar[int]
    pool: Pool
    def __init__(self, pool: _Optional[_Union[Pool, _Mapping]] = ...) -> None: ...

class GetPoolRequest(_message.Message):
    __slots__ = ("pool",)
    POOL_FIELD_NUMBER: _ClassVar[int]
    pool: str
    def __init__(self, pool: _Optional[str] = ...) -> None: ...

class GetPoolResponse(_message.Message):
    __slots__ = ("pool",)
    POOL_FIELD_NUMBER: _ClassVar[int]
    pool: Pool
    def __init__(self, pool: _Optional[_Union[Pool, _Mapping]] = ...) -> None: ...

class ListPoolsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListPoolsResponse(_message.Message):
    __slots__ = ("pools", "next_page_token")
    POOLS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    pools: _containers.RepeatedCompositeFieldContainer[Pool]
    next_page_token: str
    def __init__(self, pools: _Optional[_Iterable[_Union[Pool, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class UpdatePoolRequest(_message.Message):
    __slots__ = ("pool", "spec")
    POOL_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    pool: str
    spec: PoolSpec
    def __init__(self, pool: _Optional[str] = ..., spec: _Optional[_Union[PoolSpec, _Mapping]] = ...) -> None: ...

class UpdatePoolResponse(_message.Message):
    __slots__ = ("pool",)
    POOL_FIELD_NUMBER: _ClassVar[int]
    pool: Pool
    def __init__(self, pool: _Optional[_Union[Pool, _Mapping]] = ...) -> None: ...

class DropPoolRequest(_message.Message):
    __slots__ = ("pool", "with_videos")
    POOL_FIELD_NUMBER: _ClassVar[int]
    WITH_VIDEOS_FIELD_NUMBER: _ClassVar[int]
    pool: str
    with_videos: bool
    def __init__(self, pool: _Optional[str] = ..., with_videos: _Optional[bool] = ...) -> None: ...

class DropPoolResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CreateVideoRequest(_message.Message):
    __slots__ = ("key", "spec")
    KEY_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    key: VideoKey
    spec: VideoSpec
    def __init__(self, key: _Optional[_Union[VideoKey, _Mapping]] = ..., spec: _Optional[_Union[VideoSpec, _Mapping]] = ...) -> None: ...

class CreateVideoResponse(_message.Message):
    __slots__ = ("video",)
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    video: Video
    def __init__(self, video: _Optional[_Union[Video, _Mapping]] = ...) -> None: ...

class GetVideoRequest(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: VideoKey
    def __init__(self, key: _Optional[_Union[VideoKey, _Mapping]] = ...) -> None: ...

class GetVideoResponse(_message.Message):
    __slots__ = ("video",)
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    video: Video
    def __init__(self, video: _Optional[_Union[Video, _Mapping]] = ...) -> None: ...

class ListVideosRequest(_message.Message):
    __slots__ = ("pool", "page_size", "page_token")
    POOL_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    pool: str
    page_size: int
    page_token: str
    def __init__(self, pool: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListVideosResponse(_message.Message):
    __slots__ = ("videos", "next_page_token")
    VIDEOS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    videos: _containers.RepeatedCompositeFieldContainer[Video]
    next_page_token: str
    def __init__(self, videos: _Optional[_Iterable[_Union[Video, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DropVideoRequest(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: VideoKey
    def __init__(self, key: _Optional[_Union[VideoKey, _Mapping]] = ...) -> None: ...

class DropVideoResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AppendRequest(_message.Message):
    __slots__ = ("key", "block", "epoch", "sync", "local_session")
    KEY_FIELD_NUMBER: _ClassVar[int]
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SYNC_FIELD_NUMBER: _ClassVar[int]
    LOCAL_SESSION_FIELD_NUMBER: _ClassVar[int]
    key: VideoKey
    block: Block
    epoch: int
    sync: bool
    local_session: str
    def __init__(self, key: _Optional[_Union[VideoKey, _Mapping]] = ..., block: _Optional[_Union[Block, _Mapping]] = ..., epoch: _Optional[int] = ..., sync: _Optional[bool] = ..., local_session: _Optional[str] = ...) -> None: ...

class AppendResponse(_message.Message):
    __slots__ = ("state", "duplicate")
    STATE_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_FIELD_NUMBER: _ClassVar[int]
    state: VideoState
    duplicate: bool
    def __init__(self, state: _Optional[_Union[VideoState, _Mapping]] = ..., duplicate: _Optional[bool] = ...) -> None: ...

class AppendStreamRequest(_message.Message):
    __slots__ = ("key", "block", "epoch", "sync")
    KEY_FIELD_NUMBER: _ClassVar[int]
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SYNC_FIELD_NUMBER: _ClassVar[int]
    key: VideoKey
    block: Block
    epoch: int
    sync: bool
    def __init__(self, key: _Optional[_Union[VideoKey, _Mapping]] = ..., block: _Optional[_Union[Block, _Mapping]] = ..., epoch: _Optional[int] = ..., sync: _Optional[bool] = ...) -> None: ...

class AppendStreamResponse(_message.Message):
    __slots__ = ("state", "duplicate")
    STATE_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_FIELD_NUMBER: _ClassVar[int]
    state: VideoState
    duplicate: bool
    def __init__(self, state: _Optional[_Union[VideoState, _Mapping]] = ..., duplicate: _Optional[bool] = ...) -> None: ...

class SearchRequest(_message.Message):
    __slots__ = ("key", "queries", "unlogged", "scope")
    KEY_FIELD_NUMBER: _ClassVar[int]
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    UNLOGGED_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    key: VideoKey
    queries: _containers.RepeatedCompositeFieldContainer[Query]
    unlogged: bool
    scope: Scope
    def __init__(self, key: _Optional[_Union[VideoKey, _Mapping]] = ..., queries: _Optional[_Iterable[_Union[Query, _Mapping]]] = ..., unlogged: _Optional[bool] = ..., scope: _Optional[_Union[Scope, _Mapping]] = ...) -> None: ...

class SearchResponse(_message.Message):
    __slots__ = ("state", "results")
    STATE_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    state: VideoState
    results: _containers.RepeatedCompositeFieldContainer[HitList]
    def __init__(self, state: _Optional[_Union[VideoState, _Mapping]] = ..., results: _Optional[_Iterable[_Union[HitList, _Mapping]]] = ...) -> None: ...

class FetchRequest(_message.Message):
    __slots__ = ("handles", "parts", "local_session")
    HANDLES_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    LOCAL_SESSION_FIELD_NUMBER: _ClassVar[int]
    handles: _containers.RepeatedCompositeFieldContainer[Handle]
    parts: _containers.RepeatedScalarFieldContainer[str]
    local_session: str
    def __init__(self, handles: _Optional[_Iterable[_Union[Handle, _Mapping]]] = ..., parts: _Optional[_Iterable[str]] = ..., local_session: _Optional[str] = ...) -> None: ...

class FetchResponse(_message.Message):
    __slots__ = ("frame",)
    FRAME_FIELD_NUMBER: _ClassVar[int]
    frame: Frame
    def __init__(self, frame: _Optional[_Union[Frame, _Mapping]] = ...) -> None: ...

class AdvanceRequest(_message.Message):
    __slots__ = ("key", "block", "epoch", "sync", "query", "known_frames", "local_session")
    KEY_FIELD_NUMBER: _ClassVar[int]
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SYNC_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FRAMES_FIELD_NUMBER: _ClassVar[int]
    LOCAL_SESSION_FIELD_NUMBER: _ClassVar[int]
    key: VideoKey
    block: Block
    epoch: int
    sync: bool
    query: Query
    known_frames: _containers.RepeatedScalarFieldContainer[int]
    local_session: str
    def __init__(self, key: _Optional[_Union[VideoKey, _Mapping]] = ..., block: _Optional[_Union[Block, _Mapping]] = ..., epoch: _Optional[int] = ..., sync: _Optional[bool] = ..., query: _Optional[_Union[Query, _Mapping]] = ..., known_frames: _Optional[_Iterable[int]] = ..., local_session: _Optional[str] = ...) -> None: ...

class AdvanceResponse(_message.Message):
    __slots__ = ("state", "duplicate", "hits", "frames")
    STATE_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_FIELD_NUMBER: _ClassVar[int]
    HITS_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    state: VideoState
    duplicate: bool
    hits: _containers.RepeatedCompositeFieldContainer[Hit]
    frames: _containers.RepeatedCompositeFieldContainer[Frame]
    def __init__(self, state: _Optional[_Union[VideoState, _Mapping]] = ..., duplicate: _Optional[bool] = ..., hits: _Optional[_Iterable[_Union[Hit, _Mapping]]] = ..., frames: _Optional[_Iterable[_Union[Frame, _Mapping]]] = ...) -> None: ...

class ForkVideoRequest(_message.Message):
    __slots__ = ("parent", "parent_epoch", "key", "length", "metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PARENT_EPOCH_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    parent: VideoKey
    parent_epoch: int
    key: VideoKey
    length: int
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, parent: _Optional[_Union[VideoKey, _Mapping]] = ..., parent_epoch: _Optional[int] = ..., key: _Optional[_Union[VideoKey, _Mapping]] = ..., length: _Optional[int] = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ForkVideoResponse(_message.Message):
    __slots__ = ("video",)
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    video: Video
    def __init__(self, video: _Optional[_Union[Video, _Mapping]] = ...) -> None: ...

class TruncateVideoRequest(_message.Message):
    __slots__ = ("key", "length", "epoch")
    KEY_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    key: VideoKey
    length: int
    epoch: int
    def __init__(self, key: _Optional[_Union[VideoKey, _Mapping]] = ..., length: _Optional[int] = ..., epoch: _Optional[int] = ...) -> None: ...

class TruncateVideoResponse(_message.Message):
    __slots__ = ("video",)
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    video: Video
    def __init__(self, video: _Optional[_Union[Video, _Mapping]] = ...) -> None: ...

class SealVideoRequest(_message.Message):
    __slots__ = ("key", "epoch")
    KEY_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    key: VideoKey
    epoch: int
    def __init__(self, key: _Optional[_Union[VideoKey, _Mapping]] = ..., epoch: _Optional[int] = ...) -> None: ...

class SealVideoResponse(_message.Message):
    __slots__ = ("video",)
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    video: Video
    def __init__(self, video: _Optional[_Union[Video, _Mapping]] = ...) -> None: ...

class HeartbeatRequest(_message.Message):
    __slots__ = ("keys",)
    KEYS_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedCompositeFieldContainer[VideoKey]
    def __init__(self, keys: _Optional[_Iterable[_Union[VideoKey, _Mapping]]] = ...) -> None: ...

class HeartbeatResponse(_message.Message):
    __slots__ = ("missing",)
    MISSING_FIELD_NUMBER: _ClassVar[int]
    missing: _containers.RepeatedCompositeFieldContainer[VideoKey]
    def __init__(self, missing: _Optional[_Iterable[_Union[VideoKey, _Mapping]]] = ...) -> None: ...

class ExportVideoRequest(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: VideoKey
    def __init__(self, key: _Optional[_Union[VideoKey, _Mapping]] = ...) -> None: ...

class ExportVideoResponse(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class ImportVideoRequest(_message.Message):
    __slots__ = ("key", "expected", "data")
    KEY_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    key: VideoKey
    expected: VideoSpec
    data: bytes
    def __init__(self, key: _Optional[_Union[VideoKey, _Mapping]] = ..., expected: _Optional[_Union[VideoSpec, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class ImportVideoResponse(_message.Message):
    __slots__ = ("video",)
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    video: Video
    def __init__(self, video: _Optional[_Union[Video, _Mapping]] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("pool", "video")
    POOL_FIELD_NUMBER: _ClassVar[int]
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    pool: str
    video: str
    def __init__(self, pool: _Optional[str] = ..., video: _Optional[str] = ...) -> None: ...

class WatchResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: Event
    def __init__(self, event: _Optional[_Union[Event, _Mapping]] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("kind", "unix_ms", "key", "state", "retrieval", "lost")
    KIND_FIELD_NUMBER: _ClassVar[int]
    UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    RETRIEVAL_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    kind: EventKind
    unix_ms: int
    key: VideoKey
    state: VideoState
    retrieval: Retrieval
    lost: int
    def __init__(self, kind: _Optional[_Union[EventKind, str]] = ..., unix_ms: _Optional[int] = ..., key: _Optional[_Union[VideoKey, _Mapping]] = ..., state: _Optional[_Union[VideoState, _Mapping]] = ..., retrieval: _Optional[_Union[Retrieval, _Mapping]] = ..., lost: _Optional[int] = ...) -> None: ...

class OpenLocalRequest(_message.Message):
    __slots__ = ("staging_bytes",)
    STAGING_BYTES_FIELD_NUMBER: _ClassVar[int]
    staging_bytes: int
    def __init__(self, staging_bytes: _Optional[int] = ...) -> None: ...

class OpenLocalResponse(_message.Message):
    __slots__ = ("session", "data_dir", "staging_path", "staging_bytes", "proof", "socket_path")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    DATA_DIR_FIELD_NUMBER: _ClassVar[int]
    STAGING_PATH_FIELD_NUMBER: _ClassVar[int]
    STAGING_BYTES_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    SOCKET_PATH_FIELD_NUMBER: _ClassVar[int]
    session: str
    data_dir: str
    staging_path: str
    staging_bytes: int
    proof: bytes
    socket_path: str
    def __init__(self, session: _Optional[str] = ..., data_dir: _Optional[str] = ..., staging_path: _Optional[str] = ..., staging_bytes: _Optional[int] = ..., proof: _Optional[bytes] = ..., socket_path: _Optional[str] = ...) -> None: ...

class LocalCall(_message.Message):
    __slots__ = ("local_session", "authorization")
    LOCAL_SESSION_FIELD_NUMBER: _ClassVar[int]
    AUTHORIZATION_FIELD_NUMBER: _ClassVar[int]
    local_session: str
    authorization: str
    def __init__(self, local_session: _Optional[str] = ..., authorization: _Optional[str] = ...) -> None: ...

class ListRetrievalsRequest(_message.Message):
    __slots__ = ("key", "page_size", "page_token", "newest_first", "skip")
    KEY_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    NEWEST_FIRST_FIELD_NUMBER: _ClassVar[int]
    SKIP_FIELD_NUMBER: _ClassVar[int]
    key: VideoKey
    page_size: int
    page_token: str
    newest_first: bool
    skip: int
    def __init__(self, key: _Optional[_Union[VideoKey, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., newest_first: _Optional[bool] = ..., skip: _Optional[int] = ...) -> None: ...

class ListRetrievalsResponse(_message.Message):
    __slots__ = ("retrievals", "next_page_token")
    RETRIEVALS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    retrievals: _containers.RepeatedCompositeFieldContainer[Retrieval]
    next_page_token: str
    def __init__(self, retrievals: _Optional[_Iterable[_Union[Retrieval, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ServerInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ServerInfoResponse(_message.Message):
    __slots__ = ("version", "index", "max_message_bytes", "max_k", "max_queries", "hot_videos", "uptime_s", "max_hits", "local_path", "durability", "num_bytes", "max_bytes", "num_videos", "max_videos", "index_bytes", "max_index_bytes")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_K_FIELD_NUMBER: _ClassVar[int]
    MAX_QUERIES_FIELD_NUMBER: _ClassVar[int]
    HOT_VIDEOS_FIELD_NUMBER: _ClassVar[int]
    UPTIME_S_FIELD_NUMBER: _ClassVar[int]
    MAX_HITS_FIELD_NUMBER: _ClassVar[int]
    LOCAL_PATH_FIELD_NUMBER: _ClassVar[int]
    DURABILITY_FIELD_NUMBER: _ClassVar[int]
    NUM_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    NUM_VIDEOS_FIELD_NUMBER: _ClassVar[int]
    MAX_VIDEOS_FIELD_NUMBER: _ClassVar[int]
    INDEX_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_INDEX_BYTES_FIELD_NUMBER: _ClassVar[int]
    version: str
    index: str
    max_message_bytes: int
    max_k: int
    max_queries: int
    hot_videos: int
    uptime_s: float
    max_hits: int
    local_path: bool
    durability: str
    num_bytes: int
    max_bytes: int
    num_videos: int
    max_videos: int
    index_bytes: int
    max_index_bytes: int
    def __init__(self, version: _Optional[str] = ..., index: _Optional[str] = ..., max_message_bytes: _Optional[int] = ..., max_k: _Optional[int] = ..., max_queries: _Optional[int] = ..., hot_videos: _Optional[int] = ..., uptime_s: _Optional[float] = ..., max_hits: _Optional[int] = ..., local_path: _Optional[bool] = ..., durability: _Optional[str] = ..., num_bytes: _Optional[int] = ..., max_bytes: _Optional[int] = ..., num_videos: _Optional[int] = ..., max_videos: _Optional[int] = ..., index_bytes: _Optional[int] = ..., max_index_bytes: _Optional[int] = ...) -> None: ...
