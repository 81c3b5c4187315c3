"""What happens in a pool."""

from memory_service.errors import InvalidArgument
from memory_service.types import Event, EventKind
from memory_service.v1 import memory_pb2 as pb
from memory_service.wire.hits import retrieval_from_proto, retrieval_to_proto
from memory_service.wire.names import key_from_proto, key_to_proto
from memory_service.wire.videos import state_from_proto, state_to_proto

_KINDS: dict[EventKind, pb.EventKind] = {
    kind: pb.EventKind.Value(f"EVENT_KIND_{kind.name}")  # type: ignore[misc]
    for kind in EventKind
}
_KIND_NAMES = {number: kind for kind, number in _KINDS.items()}


def event_to_proto(event: Event) -> pb.Event:
    message = pb.Event(kind=_KINDS[event.kind], unix_ms=event.unix_ms, lost=event.lost)
    if event.key is not None:
        message.key.CopyFrom(key_to_proto(event.key))
    if event.state is not None:
        message.state.CopyFrom(state_to_proto(event.state))
    if event.retrieval is not None:
        message.retrieval.CopyFrom(retrieval_to_proto(event.retrieval))
    return message


def event_from_proto(message: pb.Event) -> Event:
    if message.kind not in _KIND_NAMES:
        raise InvalidArgument(
            f"unknown kind of event {message.kind}", field="event.kind", expected=f"one of {list(EventKind)}"
        )
    key = key_from_proto(message.key)
    return Event(
        kind=_KIND_NAMES[message.kind],
        unix_ms=message.unix_ms,
        key=key if message.HasField("key") else None,
        state=state_from_proto(message.state) if message.HasField("state") else None,
        retrieval=retrieval_from_proto(key, message.retrieval) if message.HasField("retrieval") else None,
        lost=message.lost,
    )
