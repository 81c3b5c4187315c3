"""The boundary of searches: queries, policies, filters, terms and scopes, before anything is looked at.

Whoever is past these checks relies on them and does not check again. Fields are named as in the proto.
"""

from collections.abc import Sequence

from memory_service.boundary.checks import (
    MAX_INT,
    check_number,
    check_size,
    check_vectors,
    check_whole,
    text_bytes,
)
from memory_service.boundary.validate import check_key, check_span
from memory_service.errors import InvalidArgument
from memory_service.limits import Limits
from memory_service.types import Filter, Policy, Query, Scope, Term, VideoSpec

MAX_WEIGHT = 1e6
"""Largest weight of a term, either way: sums of so many stay far from float32's end."""

_PLAIN_POLICY = Policy()
_PLAIN_FILTER = Filter()


def check_query(query: Query, spec: VideoSpec, limits: Limits, field: str, *, may_lack_vector: bool) -> None:
    """Raises InvalidArgument, TooLarge.

    `may_lack_vector` is advance, where the appended block has the vector.
    """
    check_whole(query.k, f"{field}.k", least=1, most=limits.max_k)
    check_span(query.eligible, f"{field}.eligible")
    if query.embedding is not None and query.frame is not None:
        raise InvalidArgument("two query vectors", field=f"{field}.vector", expected="embedding or frame")
    if query.embedding is not None:
        check_vectors(query.embedding, spec.embedding_dim, 1, f"{field}.embedding")
    elif query.frame is not None:
        check_whole(query.frame, f"{field}.frame")
    elif not may_lack_vector:
        raise InvalidArgument("no query vector", field=f"{field}.vector", expected="embedding or frame")
    if query.policy is not _PLAIN_POLICY and query.policy != _PLAIN_POLICY:
        _check_policy(query.policy, query.k, limits, f"{field}.policy")
    if query.filter is not _PLAIN_FILTER and query.filter != _PLAIN_FILTER:
        _check_filter(query.filter, limits, f"{field}.filter")
    check_number(query.weight, f"{field}.weight", least=-MAX_WEIGHT, most=MAX_WEIGHT)
    check_size(len(query.terms), limits.max_terms, f"{field}.terms", "terms of one score", unit="terms")
    for i, term in enumerate(query.terms):
        _check_term(term, spec, f"{field}.terms[{i}]")


def check_queries(queries: Sequence[Query], spec: VideoSpec, limits: Limits) -> None:
    """Raises InvalidArgument, TooLarge."""
    check_size(len(queries), limits.max_queries, "queries", "queries of one search", unit="queries")
    for i, query in enumerate(queries):
        check_query(query, spec, limits, f"queries[{i}]", may_lack_vector=False)
    hits = sum(query.k for query in queries)
    check_size(hits, limits.max_hits, "queries", "hits of one search", unit="hits")


def check_scope(scope: Scope, limits: Limits) -> None:
    """Raises InvalidArgument, TooLarge."""
    if scope.pool == bool(scope.videos):
        raise InvalidArgument(
            "a scope names videos or is the pool", field="scope", expected="either videos or pool"
        )
    check_size(
        len(scope.videos), limits.max_scope_videos, "scope.videos", "videos of one search", unit="videos"
    )
    seen = set()
    for i, one in enumerate(scope.videos):
        check_key(one.key, f"scope.videos[{i}].key")
        if one.key in seen:
            raise InvalidArgument(
                f"video {one.key} twice",
                field=f"scope.videos[{i}].key",
                expected="each video once",
            )
        seen.add(one.key)
        if one.eligible is not None:
            check_span(one.eligible, f"scope.videos[{i}].eligible")


def check_page(start: int, limit: int | None) -> None:
    """Raises InvalidArgument unless entries [start, start + limit) of a log can be asked for."""
    check_whole(start, "page_token")
    if limit is not None:
        check_whole(limit, "page_size")


def _check_policy(policy: Policy, k: int, limits: Limits, field: str) -> None:
    check_whole(policy.min_gap_frames, f"{field}.min_gap_frames")
    if policy.mmr_lambda is not None:
        check_number(policy.mmr_lambda, f"{field}.mmr_lambda", least=0.0, most=1.0)
        check_size(
            k, limits.max_diverse_k, f"{field}.mmr_lambda", "hits of one query with mmr_lambda", unit="hits"
        )
    if policy.min_score is not None:
        check_number(policy.min_score, f"{field}.min_score")
    pinned = policy.pinned_frames
    check_size(len(pinned), limits.max_pinned, f"{field}.pinned_frames", "pinned frames", unit="frames")
    for i, frame in enumerate(pinned):
        check_whole(frame, f"{field}.pinned_frames[{i}]")
        if frame in pinned[:i]:
            raise InvalidArgument(
                f"frame {frame} is pinned twice",
                field=f"{field}.pinned_frames[{i}]",
                expected="each frame once",
            )
    if policy.max_pinned is not None:
        check_whole(policy.max_pinned, f"{field}.max_pinned", most=2**31 - 1)


def _check_filter(wanted: Filter, limits: Limits, field: str) -> None:
    check_size(
        len(wanted.metadata), limits.max_filter_keys, f"{field}.metadata", "keys of one filter", unit="keys"
    )
    size = text_bytes(wanted.metadata, f"{field}.metadata")
    check_size(size, limits.max_block_metadata_bytes, f"{field}.metadata", "metadata of one filter")
    after, before = wanted.after_unix_ms, wanted.before_unix_ms
    for value, name in ((after, "after_unix_ms"), (before, "before_unix_ms")):
        if value is not None:
            check_whole(value, f"{field}.{name}", least=-MAX_INT - 1)
    if after is not None and before is not None and after > before:
        raise InvalidArgument(
            f"reversed times [{after}, {before})",
            field=f"{field}.before_unix_ms",
            expected="after_unix_ms or later",
        )


def _check_term(term: Term, spec: VideoSpec, field: str) -> None:
    if term.name not in spec.named_dims:
        raise InvalidArgument(
            f"no embeddings are named {str(term.name)[:140]!r}",
            field=f"{field}.name",
            expected=f"one of {sorted(spec.named_dims)}",
        )
    check_vectors(term.embedding, spec.named_dims[term.name], 1, f"{field}.embedding")
    check_number(term.weight, f"{field}.weight", least=-MAX_WEIGHT, most=MAX_WEIGHT)
