"""Types to proto messages and back, without the payloads (`bulk`): one function per message and direction.

`*_to_proto` runs where a value is sent: it refuses what a message cannot carry. `*_from_proto` runs where a
message arrives: it refuses what only the wire can get wrong (a missing message, a vector cut short, an
unknown enum, more elements than any request has) and leaves every other judgement to the engine. Both raise
`InvalidArgument` naming the field as the proto does.
"""

from memory_service.wire.events import event_from_proto, event_to_proto
from memory_service.wire.fields import extend, few, fill, require, update
from memory_service.wire.hits import hit_from_proto, hit_to_proto, retrieval_from_proto, retrieval_to_proto
from memory_service.wire.names import (
    handle_from_proto,
    handle_to_proto,
    key_from_proto,
    key_to_proto,
    span_from_proto,
    span_to_proto,
)
from memory_service.wire.pools import (
    info_from_proto,
    info_to_proto,
    pool_from_proto,
    pool_spec_from_proto,
    pool_spec_to_proto,
    pool_to_proto,
)
from memory_service.wire.queries import query_from_proto, query_to_proto, scope_from_proto, scope_to_proto
from memory_service.wire.vectors import named_from_proto, put_named, vectors_from_bytes, vectors_to_bytes
from memory_service.wire.videos import (
    spec_from_proto,
    spec_to_proto,
    state_from_proto,
    state_to_proto,
    video_from_proto,
    video_to_proto,
)

__all__ = [
    "event_from_proto",
    "event_to_proto",
    "extend",
    "few",
    "fill",
    "handle_from_proto",
    "handle_to_proto",
    "hit_from_proto",
    "hit_to_proto",
    "info_from_proto",
    "info_to_proto",
    "key_from_proto",
    "key_to_proto",
    "named_from_proto",
    "pool_from_proto",
    "pool_spec_from_proto",
    "pool_spec_to_proto",
    "pool_to_proto",
    "put_named",
    "query_from_proto",
    "query_to_proto",
    "require",
    "retrieval_from_proto",
    "retrieval_to_proto",
    "scope_from_proto",
    "scope_to_proto",
    "span_from_proto",
    "span_to_proto",
    "spec_from_proto",
    "spec_to_proto",
    "state_from_proto",
    "state_to_proto",
    "update",
    "vectors_from_bytes",
    "vectors_to_bytes",
    "video_from_proto",
    "video_to_proto",
]
