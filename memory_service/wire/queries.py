"""What a search asks for: query, policy, filter, terms, scope."""

from collections.abc import Sequence

from memory_service.errors import InvalidArgument
from memory_service.types import Filter, Policy, Query, Scope, ScopeVideo, Span, Term
from memory_service.v1 import memory_pb2 as pb
from memory_service.wire.fields import extend, few, fill, require, update
from memory_service.wire.names import key_from_proto, key_to_proto, span_from_proto, span_to_proto
from memory_service.wire.vectors import vector_from_bytes, vectors_to_bytes

_PLAIN = Query(k=1, eligible=Span(0, 1))
_TOP_K, _ALL = _PLAIN.policy, _PLAIN.filter
"""What most queries have, most often these very objects."""


def query_to_proto(query: Query, field: str) -> pb.Query:
    if query.embedding is not None and query.frame is not None:
        raise InvalidArgument("two query vectors", field=f"{field}.vector", expected="embedding or frame")
    message = pb.Query()
    span, eligible = query.eligible, message.eligible
    eligible.SetInParent()
    try:
        message.k, eligible.start, eligible.stop = query.k, span.start, span.stop
    except (TypeError, ValueError):
        fill(message, f"{field}.", k=query.k)
        fill(eligible, f"{field}.eligible.", start=span.start, stop=span.stop)
    if query.frame is not None:
        fill(message, f"{field}.", frame=query.frame)
    if query.embedding is not None:
        message.embedding = vectors_to_bytes(query.embedding, 1, f"{field}.embedding")
    if query.weight != 1.0:
        fill(message, f"{field}.", weight=query.weight)
    if query.policy is not _TOP_K and query.policy != _TOP_K:
        _put_policy(query.policy, message.policy, f"{field}.policy")
    if query.filter is not _ALL and query.filter != _ALL:
        _put_filter(query.filter, message.filter, f"{field}.filter")
    for i, term in enumerate(query.terms):
        _put_term(term, message.terms.add(), f"{field}.terms[{i}]")
    return message


def query_from_proto(message: pb.Query, field: str) -> Query:
    require(message, "eligible", prefix=f"{field}.")
    has = message.HasField
    return Query(
        k=message.k,
        eligible=span_from_proto(message.eligible),
        embedding=vector_from_bytes(message.embedding, f"{field}.embedding") if has("embedding") else None,
        frame=message.frame if has("frame") else None,
        policy=_policy(message.policy, f"{field}.policy") if has("policy") else _TOP_K,
        filter=_filter(message.filter, f"{field}.filter") if has("filter") else _ALL,
        terms=_terms(few(message.terms, f"{field}.terms"), f"{field}.terms") if message.terms else (),
        weight=message.weight if has("weight") else 1.0,
    )


def scope_to_proto(scope: Scope, field: str = "scope") -> pb.Scope:
    message = fill(pb.Scope(), f"{field}.", pool=scope.pool)
    for i, one in enumerate(scope.videos):
        name = f"{field}.videos[{i}]"
        eligible = None if one.eligible is None else span_to_proto(one.eligible, f"{name}.eligible")
        message.videos.add(key=key_to_proto(one.key, f"{name}.key"), eligible=eligible)
    return message


def scope_from_proto(message: pb.Scope, field: str = "scope") -> Scope:
    videos = []
    for i, one in enumerate(few(message.videos, f"{field}.videos")):
        require(one, "key", prefix=f"{field}.videos[{i}].")
        eligible = span_from_proto(one.eligible) if one.HasField("eligible") else None
        videos.append(ScopeVideo(key_from_proto(one.key), eligible))
    return Scope(tuple(videos), message.pool)


def _put_policy(policy: Policy, message: pb.Policy, field: str) -> None:
    fill(
        message,
        f"{field}.",
        min_gap_frames=policy.min_gap_frames,
        mmr_lambda=policy.mmr_lambda,
        min_score=policy.min_score,
        max_pinned=policy.max_pinned,
    )
    extend(message.pinned_frames, policy.pinned_frames, f"{field}.pinned_frames")


def _policy(message: pb.Policy, field: str) -> Policy:
    return Policy(
        min_gap_frames=message.min_gap_frames,
        mmr_lambda=message.mmr_lambda if message.HasField("mmr_lambda") else None,
        min_score=message.min_score if message.HasField("min_score") else None,
        pinned_frames=tuple(few(message.pinned_frames, f"{field}.pinned_frames")),
        max_pinned=message.max_pinned if message.HasField("max_pinned") else None,
    )


def _put_filter(wanted: Filter, message: pb.Filter, field: str) -> None:
    message.SetInParent()
    update(message.metadata, wanted.metadata, f"{field}.metadata")
    fill(message, f"{field}.", after_unix_ms=wanted.after_unix_ms, before_unix_ms=wanted.before_unix_ms)


def _filter(message: pb.Filter, field: str) -> Filter:
    return Filter(
        metadata=dict(few(message.metadata, f"{field}.metadata")),
        after_unix_ms=message.after_unix_ms if message.HasField("after_unix_ms") else None,
        before_unix_ms=message.before_unix_ms if message.HasField("before_unix_ms") else None,
    )


def _put_term(term: Term, message: pb.Term, field: str) -> None:
    fill(message, f"{field}.", name=term.name, weight=term.weight)
    message.embedding = vectors_to_bytes(term.embedding, 1, f"{field}.embedding")


def _terms(messages: Sequence[pb.Term], field: str) -> tuple[Term, ...]:
    return tuple(
        Term(one.name, vector_from_bytes(one.embedding, f"{field}[{i}].embedding"), one.weight)
        for i, one in enumerate(messages)
    )
