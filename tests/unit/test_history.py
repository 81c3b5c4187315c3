"""What the rollout tells the memory, and what it gets back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from encoder.pooling import AvgPool
from generator.errors import HistoryNotEmptyError
from generator.history.history import History, latents_of, payloads, video_spec
from generator.story.searching import NO_SEARCH, Search
from memory_service.errors import AlreadyExists, InvalidArgument
from memory_service.types import LATENT, Query, Span, VideoKey, VideoSpec

KEY = VideoKey("p", "v")
SHAPE = (16, 2, 3)


def spec(dtype: torch.dtype = torch.float32) -> VideoSpec:
    return video_spec(AvgPool(16), SHAPE, dtype, {"prompt": "a village"})


def block(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    latents = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(seed))
    return latents, AvgPool(16).encode(latents)


@pytest.fixture(params=[True, False], ids=["fused", "apart"])
def history(request: pytest.FixtureRequest, memory) -> Iterator[History]:
    with History(memory, KEY, spec(), fused=request.param) as made:
        yield made


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_payloads_keep_every_bit(dtype: torch.dtype) -> None:
    latents = block(0)[0].to(dtype)
    data = payloads(latents, spec(dtype))
    assert [len(frame) for frame in data] == [spec(dtype).latent_bytes] * 3
    assert torch.equal(latents_of(data, spec(dtype)), latents)


def test_payloads_are_in_the_dtype_of_the_video() -> None:
    latents = block(0)[0]
    assert torch.equal(
        latents_of(payloads(latents, spec(torch.bfloat16)), spec(torch.bfloat16)), latents.bfloat16()
    )


def test_payloads_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(16, 2, 3\)"):
        payloads(torch.zeros(3, 16, 3, 2), spec())


def test_hits_are_the_nearest_of_the_eligible_frames(history: History, memory) -> None:
    embeddings = []
    for index in range(4):
        latents, embedding = block(index)
        embeddings.append(embedding)
        query = Query(k=2, eligible=Span(1, 7)) if index == 3 else None
        history.remember(3 * index, latents, embedding, Search(query))
        recalled = history.recall()
        assert recalled.hits == () or index == 3
    scores = torch.cat(embeddings)[1:7] @ embeddings[-1][-1]
    best = scores.topk(2)
    assert [hit.handle for hit in recalled.hits] == [history.handle(1 + int(i)) for i in best.indices]
    assert [hit.score for hit in recalled.hits] == pytest.approx(best.values.tolist(), abs=1e-6)
    assert memory.get_video(KEY).state.length == 12
    assert memory.get_video(KEY).spec.metadata == {"prompt": "a village"}
    (kept,) = memory.fetch([history.handle(5)])
    assert torch.equal(latents_of([kept.parts[LATENT]], spec()), block(1)[0][2:3])


def test_time_is_charged_to_the_verbs_that_were_used(history: History, request) -> None:
    history.remember(0, *block(0), NO_SEARCH)
    assert history.recall().seconds.keys() == {"append"}
    history.remember(3, *block(1), Search(Query(k=1, eligible=Span(0, 3))))
    fused = "fused" in request.node.name
    assert history.recall().seconds.keys() == ({"advance"} if fused else {"append", "search"})


def test_errors_of_the_memory_come_out_of_recall(history: History) -> None:
    latents, embeddings = block(0)
    history.remember(0, latents, torch.full_like(embeddings, float("nan")), NO_SEARCH)
    with pytest.raises(InvalidArgument):
        history.recall()
    history.remember(0, latents, embeddings, NO_SEARCH)
    assert history.recall().hits == ()


def test_a_video_with_frames_is_not_continued(history: History, memory) -> None:
    history.remember(0, *block(0), NO_SEARCH)
    history.recall()
    with pytest.raises(HistoryNotEmptyError, match="p/v already has 3 frames"):
        History(memory, KEY, spec())


def test_another_encoder_is_refused(history: History, memory) -> None:
    assert history.spec.encoder_id == "avg-pool/16"
    with pytest.raises(AlreadyExists):
        History(memory, KEY, VideoSpec(16, "float32", SHAPE, "latent-ae/sha256:0123"))
