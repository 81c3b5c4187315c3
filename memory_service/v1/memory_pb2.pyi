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
LATENT_DTYPE_UNSPECIFIED: LatentDtype
LATENT_DTYPE_BFLOAT16: LatentDtype
LATENT_DTYPE_FLOAT16: LatentDtype
LATENT_DTYPE_FLOAT32: LatentDtype

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
    __slots__ = ("embedding_dim", "latent_dtype", "latent_shape", "encoder_id", "metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    EMBEDDING_DIM_FIELD_NUMBER: _ClassVar[int]
    LATENT_DTYPE_FIELD_NUMBER: _ClassVar[int]
    LATENT_SHAPE_FIELD_NUMBER: _ClassVar[int]
    ENCODER_ID_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    embedding_dim: int
    latent_dtype: LatentDtype
    latent_shape: _containers.RepeatedScalarFieldContainer[int]
    encoder_id: str
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, embedding_dim: _Optional[int] = ..., latent_dtype: _Optional[_Union[LatentDtype, str]] = ..., latent_shape: _Optional[_Iterable[int]] = ..., encoder_id: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...

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
    __slots__ = ("key", "spec", "state", "created_unix_ms")
    KEY_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CREATED_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    key: VideoKey
    spec: VideoSpec
    state: VideoState
    created_unix_ms: int
    def __init__(self, key: _Optional[_Union[VideoKey, _Mapping]] = ..., spec: _Optional[_Union[VideoSpec, _Mapping]] = ..., state: _Optional[_Union[VideoState, _Mapping]] = ..., created_unix_ms: _Optional[int] = ...) -> None: ...

class Part(_message.Message):
    __slots__ = ("name", "payloads")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PAYLOADS_FIELD_NUMBER: _ClassVar[int]
    name: str
    payloads: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, name: _Optional[str] = ..., payloads: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Block(_message.Message):
    __slots__ = ("start", "embeddings", "parts")
    START_FIELD_NUMBER: _ClassVar[int]
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    start: int
    embeddings: bytes
    parts: _containers.RepeatedCompositeFieldContainer[Part]
    def __init__(self, start: _Optional[int] = ..., embeddings: _Optional[bytes] = ..., parts: _Optional[_Iterable[_Union[Part, _Mapping]]] = ...) -> None: ...

class Payload(_message.Message):
    __slots__ = ("name", "data", "crc32c")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    CRC32C_FIELD_NUMBER: _ClassVar[int]
    name: str
    data: bytes
    crc32c: int
    def __init__(self, name: _Optional[str] = ..., data: _Optional[bytes] = ..., crc32c: _Optional[int] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("handle", "embedding", "payloads")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    PAYLOADS_FIELD_NUMBER: _ClassVar[int]
    handle: Handle
    embedding: bytes
    payloads: _containers.RepeatedCompositeFieldContainer[Payload]
    def __init__(self, handle: _Optional[_Union[Handle, _Mapping]] = ..., embedding: _Optional[bytes] = ..., payloads: _Optional[_Iterable[_Union[Payload, _Mapping]]] = ...) -> None: ...

class Query(_message.Message):
    __slots__ = ("embedding", "frame", "k", "eligible")
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    ELIGIBLE_FIELD_NUMBER: _ClassVar[int]
    embedding: bytes
    frame: int
    k: int
    eligible: Span
    def __init__(self, embedding: _Optional[bytes] = ..., frame: _Optional[int] = ..., k: _Optional[int] = ..., eligible: _Optional[_Union[Span, _Mapping]] = ...) -> None: ...

class Hit(_message.Message):
    __slots__ = ("handle", "score")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    handle: Handle
    score: float
    def __init__(self, handle: _Optional[_Union[Handle, _Mapping]] = ..., score: _Optional[float] = ...) -> None: ...

class HitList(_message.Message):
    __slots__ = ("hits",)
    HITS_FIELD_NUMBER: _ClassVar[int]
    hits: _containers.RepeatedCompositeFieldContainer[Hit]
    def __init__(self, hits: _Optional[_Iterable[_Union[Hit, _Mapping]]] = ...) -> None: ...

class Retrieval(_message.Message):
    __slots__ = ("epoch", "length", "query_frame", "eligible", "k", "policy", "frames", "scores", "search_us", "unix_ms")
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
    def __init__(self, epoch: _Optional[int] = ..., length: _Optional[int] = ..., query_frame: _Optional[int] = ..., eligible: _Optional[_Union[Span, _Mapping]] = ..., k: _Optional[int] = ..., policy: _Optional[str] = ..., frames: _Optional[_Iterable[int]] = ..., scores: _Optional[_Iterable[float]] = ..., search_us: _Optional[int] = ..., unix_ms: _Optional[int] = ...) -> None: ...

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

class AppendResponse(_message.Message):
    __slots__ = ("state", "duplicate")
    STATE_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_FIELD_NUMBER: _ClassVar[int]
    state: VideoState
    duplicate: bool
    def __init__(self, state: _Optional[_Union[VideoState, _Mapping]] = ..., duplicate: _Optional[bool] = ...) -> None: ...

class SearchRequest(_message.Message):
    __slots__ = ("key", "queries", "unlogged")
    KEY_FIELD_NUMBER: _ClassVar[int]
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    UNLOGGED_FIELD_NUMBER: _ClassVar[int]
    key: VideoKey
    queries: _containers.RepeatedCompositeFieldContainer[Query]
    unlogged: bool
    def __init__(self, key: _Optional[_Union[VideoKey, _Mapping]] = ..., queries: _Optional[_Iterable[_Union[Query, _Mapping]]] = ..., unlogged: _Optional[bool] = ...) -> None: ...

class SearchResponse(_message.Message):
    __slots__ = ("state", "results")
    STATE_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    state: VideoState
    results: _containers.RepeatedCompositeFieldContainer[HitList]
    def __init__(self, state: _Optional[_Union[VideoState, _Mapping]] = ..., results: _Optional[_Iterable[_Union[HitList, _Mapping]]] = ...) -> None: ...

class FetchRequest(_message.Message):
    __slots__ = ("handles", "parts")
    HANDLES_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    handles: _containers.RepeatedCompositeFieldContainer[Handle]
    parts: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, handles: _Optional[_Iterable[_Union[Handle, _Mapping]]] = ..., parts: _Optional[_Iterable[str]] = ...) -> None: ...

class FetchResponse(_message.Message):
    __slots__ = ("frame",)
    FRAME_FIELD_NUMBER: _ClassVar[int]
    frame: Frame
    def __init__(self, frame: _Optional[_Union[Frame, _Mapping]] = ...) -> None: ...

class AdvanceRequest(_message.Message):
    __slots__ = ("key", "block", "epoch", "sync", "query", "known_frames")
    KEY_FIELD_NUMBER: _ClassVar[int]
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SYNC_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FRAMES_FIELD_NUMBER: _ClassVar[int]
    key: VideoKey
    block: Block
    epoch: int
    sync: bool
    query: Query
    known_frames: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, key: _Optional[_Union[VideoKey, _Mapping]] = ..., block: _Optional[_Union[Block, _Mapping]] = ..., epoch: _Optional[int] = ..., sync: _Optional[bool] = ..., query: _Optional[_Union[Query, _Mapping]] = ..., known_frames: _Optional[_Iterable[int]] = ...) -> None: ...

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

class ListRetrievalsRequest(_message.Message):
    __slots__ = ("key", "page_size", "page_token")
    KEY_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    key: VideoKey
    page_size: int
    page_token: str
    def __init__(self, key: _Optional[_Union[VideoKey, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

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
    __slots__ = ("version", "index", "max_message_bytes", "max_k", "max_queries", "hot_videos", "uptime_s")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_K_FIELD_NUMBER: _ClassVar[int]
    MAX_QUERIES_FIELD_NUMBER: _ClassVar[int]
    HOT_VIDEOS_FIELD_NUMBER: _ClassVar[int]
    UPTIME_S_FIELD_NUMBER: _ClassVar[int]
    version: str
    index: str
    max_message_bytes: int
    max_k: int
    max_queries: int
    hot_videos: int
    uptime_s: float
    def __init__(self, version: _Optional[str] = ..., index: _Optional[str] = ..., max_message_bytes: _Optional[int] = ..., max_k: _Optional[int] = ..., max_queries: _Optional[int] = ..., hot_videos: _Optional[int] = ..., uptime_s: _Optional[float] = ...) -> None: ...
