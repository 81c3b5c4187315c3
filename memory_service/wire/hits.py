"""What a search chose: hits, and the entry of the log that tells of it."""

from dataclasses import fields

from memory_service.types import Hit, Retrieval, VideoKey
from memory_service.v1 import memory_pb2 as pb
from memory_service.wire.names import (
    handle_from_proto,
    handle_to_proto,
    key_from_proto,
    key_to_proto,
    span_from_proto,
    span_to_proto,
)

_LISTS = ("frames", "scores", "runner_up_frames", "runner_up_scores")


def hit_to_proto(hit: Hit) -> pb.Hit:
    return pb.Hit(handle=handle_to_proto(hit.handle), score=hit.score, pinned=hit.pinned)


def hit_from_proto(message: pb.Hit) -> Hit:
    return Hit(handle_from_proto(message.handle), message.score, message.pinned)


def retrieval_to_proto(retrieval: Retrieval) -> pb.Retrieval:
    values = {field.name: getattr(retrieval, field.name) for field in fields(Retrieval)}
    del values["key"]
    values["eligible"] = span_to_proto(retrieval.eligible, "eligible")
    values["videos"] = [key_to_proto(key) for key in retrieval.videos]
    return pb.Retrieval(**values)


def retrieval_from_proto(key: VideoKey, message: pb.Retrieval) -> Retrieval:
    values = {field.name: getattr(message, field.name) for field in fields(Retrieval) if field.name != "key"}
    values["query_frame"] = message.query_frame if message.HasField("query_frame") else None
    values["eligible"] = span_from_proto(message.eligible)
    values["videos"] = tuple(map(key_from_proto, message.videos))
    values |= {name: tuple(values[name]) for name in _LISTS}
    return Retrieval(key=key, **values)
