"""The boundary of searches and of what frames carry beside an embedding: each bad value names its field."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from memory_service.boundary.validate import check_block, check_spec
from memory_service.boundary.validate_search import check_queries, check_scope
from memory_service.errors import InvalidArgument, TooLarge
from memory_service.limits import Limits
from memory_service.types import (
    Block,
    Filter,
    Policy,
    Query,
    Scope,
    ScopeVideo,
    Span,
    Term,
    VideoKey,
    VideoSpec,
)

SPEC = VideoSpec(4, "float16", (2,), "encoder", named_dims={"text": 3, "pose": 2})
LIMITS = Limits(
    max_diverse_k=5,
    max_pinned=3,
    max_terms=2,
    max_filter_keys=2,
    max_scope_videos=3,
    max_block_metadata_bytes=20,
    max_named=2,
)
ONES = np.ones(4, np.float32)
TEXT = Term("text", np.ones(3, np.float32), 0.5)


def query(**changes: Any) -> Query:
    return Query(**{"k": 3, "eligible": Span(0, 9), "embedding": ONES, **changes})


def key(video: str) -> VideoKey:
    return VideoKey("pool", video)


@pytest.mark.parametrize(
    "good",
    [
        {
            "policy": Policy(
                min_gap_frames=4, mmr_lambda=0.0, min_score=-2.0, pinned_frames=(7, 0), max_pinned=0
            )
        },
        {"policy": Policy(mmr_lambda=1, min_score=1), "k": 5},
        {"filter": Filter({"scene": "", "b": "x"}, after_unix_ms=-5, before_unix_ms=-5)},
        {"terms": (TEXT, dataclasses.replace(TEXT, weight=-1e6)), "weight": 0.0},
        {"k": np.int32(2), "weight": np.float32(0.5)},
    ],
)
def test_what_can_be_right_passes(good: dict[str, Any]) -> None:
    check_queries([query(**good)], SPEC, LIMITS)


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"policy": Policy(min_gap_frames=-1)}, "policy.min_gap_frames"),
        ({"policy": Policy(min_gap_frames=1.5)}, "policy.min_gap_frames"),  # type: ignore[arg-type]
        ({"policy": Policy(mmr_lambda=1.01)}, "policy.mmr_lambda"),
        ({"policy": Policy(mmr_lambda=float("nan"))}, "policy.mmr_lambda"),
        ({"policy": Policy(mmr_lambda=True)}, "policy.mmr_lambda"),
        ({"policy": Policy(min_score=float("nan"))}, "policy.min_score"),
        ({"policy": Policy(min_score=float("inf"))}, "policy.min_score"),
        ({"policy": Policy(pinned_frames=(1, -1))}, "policy.pinned_frames[1]"),
        ({"policy": Policy(pinned_frames=(1, 2, 1))}, "policy.pinned_frames[2]"),
        ({"policy": Policy(max_pinned=-1)}, "policy.max_pinned"),
        ({"filter": Filter({"": "x"})}, "filter.metadata"),
        ({"filter": Filter({"x": 1})}, "filter.metadata"),  # type: ignore[dict-item]
        ({"filter": Filter({"x": "\ud800"})}, "filter.metadata"),
        ({"filter": Filter(after_unix_ms=2**63)}, "filter.after_unix_ms"),
        ({"filter": Filter(before_unix_ms=0.5)}, "filter.before_unix_ms"),  # type: ignore[arg-type]
        ({"filter": Filter(after_unix_ms=5, before_unix_ms=4)}, "filter.before_unix_ms"),
        ({"terms": (TEXT, dataclasses.replace(TEXT, name="sound"))}, "terms[1].name"),
        ({"terms": (dataclasses.replace(TEXT, embedding=ONES),)}, "terms[0].embedding"),
        ({"terms": (dataclasses.replace(TEXT, embedding=np.zeros(3, np.float32)),)}, "terms[0].embedding"),
        ({"terms": (dataclasses.replace(TEXT, weight=float("inf")),)}, "terms[0].weight"),
        ({"terms": (dataclasses.replace(TEXT, weight=2e6),)}, "terms[0].weight"),
        ({"weight": float("nan")}, "weight"),
    ],
)
def test_what_cannot_be_right_names_its_field(bad: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        check_queries([query(), query(**bad)], SPEC, LIMITS)
    assert error.value.field == f"queries[1].{field}"
    assert error.value.expected


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"policy": Policy(mmr_lambda=0.5), "k": 6}, "policy.mmr_lambda"),
        ({"policy": Policy(pinned_frames=(1, 2, 3, 4))}, "policy.pinned_frames"),
        ({"filter": Filter({"a": "", "b": "", "c": ""})}, "filter.metadata"),
        ({"filter": Filter({"a": "x" * 20})}, "filter.metadata"),
        ({"terms": (TEXT, TEXT, TEXT)}, "terms"),
    ],
)
def test_too_much_of_anything_is_too_large(bad: dict[str, Any], field: str) -> None:
    with pytest.raises(TooLarge) as error:
        check_queries([query(**bad)], SPEC, LIMITS)
    assert error.value.field == f"queries[0].{field}"


@pytest.mark.parametrize(
    ("scope", "field"),
    [
        (Scope(), "scope"),
        (Scope((ScopeVideo(key("a")),), pool=True), "scope"),
        (Scope((ScopeVideo(key("a")), ScopeVideo(VideoKey("..", "a")))), "scope.videos[1].key.pool"),
        (Scope((ScopeVideo(key("a")), ScopeVideo(key("b/c")))), "scope.videos[1].key.video"),
        (Scope((ScopeVideo(key("a")), ScopeVideo(key("b")), ScopeVideo(key("a")))), "scope.videos[2].key"),
        (Scope((ScopeVideo(key("a"), Span(5, 4)),)), "scope.videos[0].eligible"),
        (Scope((ScopeVideo(key("a"), Span(-1, 4)),)), "scope.videos[0].eligible.start"),
    ],
)
def test_a_scope_that_cannot_be_right_names_its_field(scope: Scope, field: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        check_scope(scope, LIMITS)
    assert error.value.field == field


def test_scopes_are_bounded() -> None:
    videos = tuple(ScopeVideo(key(name), Span(0, 3)) for name in "abcd")
    check_scope(Scope(videos[:3]), LIMITS)
    check_scope(Scope(pool=True), LIMITS)
    with pytest.raises(TooLarge) as error:
        check_scope(Scope(videos), LIMITS)
    assert error.value.field == "scope.videos"


def block(**changes: Any) -> Block:
    rows = {
        "embeddings": np.ones((2, 4), np.float32),
        "parts": {"latent": [b"abcd", b"efgh"]},
        "named": {"pose": np.ones((2, 2), np.float32), "text": np.ones((2, 3), np.float32)},
    }
    return Block(**{"start": 0, **rows, **changes})


def test_a_block_carries_what_the_spec_names() -> None:
    check_block(block(metadata={"scene": "harbour"}, unix_ms=2**63 - 1), SPEC, LIMITS)


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"named": {}}, "block.named"),
        ({"named": {**block().named, "sound": np.ones((2, 1), np.float32)}}, "block.named"),
        ({"named": {**block().named, "text": np.ones((3, 3), np.float32)}}, "block.named[1].embeddings"),
        ({"named": {**block().named, "pose": np.ones((2, 3), np.float32)}}, "block.named[0].embeddings"),
        ({"named": {**block().named, "pose": np.zeros((2, 2), np.float32)}}, "block.named[0].embeddings"),
        ({"metadata": {"": "x"}}, "block.metadata"),
        ({"unix_ms": -1}, "block.unix_ms"),
    ],
)
def test_a_block_that_cannot_be_right_names_its_field(bad: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        check_block(block(**bad), SPEC, LIMITS)
    assert error.value.field == field


def test_metadata_of_a_block_are_bounded() -> None:
    with pytest.raises(TooLarge) as error:
        check_block(block(metadata={"scene": "x" * 16}), SPEC, LIMITS)
    assert error.value.field == "block.metadata"


@pytest.mark.parametrize("named", [{"": 3}, {"../x": 3}, {"text": 0}, {"text": 1 << 20}, {"text": 1.5}])
def test_named_dims_that_cannot_be_are_refused(named: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument) as error:
        check_spec(dataclasses.replace(SPEC, named_dims=named), LIMITS)
    assert error.value.field == "spec.named_dims"


def test_named_embeddings_are_bounded() -> None:
    with pytest.raises(TooLarge) as error:
        check_spec(dataclasses.replace(SPEC, named_dims={"a": 1, "b": 1, "c": 1}), LIMITS)
    assert error.value.field == "spec.named_dims"


@pytest.mark.parametrize("scale", [1e-38, 1e-30, 1e30, 3e38])
def test_vectors_whose_squares_leave_float32_are_vectors(scale: float) -> None:
    check_queries([query(embedding=ONES * np.float32(scale))], SPEC, LIMITS)
    check_block(block(embeddings=np.ones((2, 4), np.float32) * np.float32(scale)), SPEC, LIMITS)
