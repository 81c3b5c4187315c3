"""What the benchmark feeds every peer, and what it takes for the right answer."""

import zlib
from itertools import pairwise

import numpy as np
import pytest

from benchmarks.workload import (
    EMBEDDING_DIM,
    FULL_FRAMES,
    GUARD,
    LATENT_BYTES,
    SINK,
    SMALL_BYTES,
    K,
    Video,
    Workload,
)


def test_equal_videos_give_equal_bytes_and_other_seeds_give_others():
    one, same, other = (Workload(Video("v", 60, 90, seed=seed)) for seed in (1, 1, 2))
    step, again, differs = (w.steps(2)[1] for w in (one, same, other))
    assert step.block.payloads == again.block.payloads
    assert np.array_equal(step.block.embeddings, again.block.embeddings)
    assert np.array_equal(step.query, again.query)
    assert step.expected == again.expected
    assert step.block.payloads != differs.block.payloads


def test_payloads_name_their_frame_differ_and_do_not_compress():
    workload = Workload(Video("v", 60, 90))
    payloads = [workload.payload(frame) for frame in range(60)]
    assert [int.from_bytes(p[:8], "little") for p in payloads] == list(range(60))
    assert {len(p) for p in payloads} == {LATENT_BYTES}
    assert len({p[8:] for p in payloads}) == 60
    assert len(zlib.compress(payloads[3] + payloads[4])) > 1.5 * LATENT_BYTES  # exponents repeat, no more


def test_payloads_are_normal_noise_in_bfloat16():
    words = np.frombuffer(Workload(Video("v", 60, 90)).payload(7)[8:], np.uint16)
    values = (words.astype(np.uint32) << 16).view(np.float32)
    assert abs(values.mean()) < 0.02
    assert values.std() == pytest.approx(1.0, abs=0.02)


def test_steps_continue_the_history_and_search_only_its_eligible_span():
    workload = Workload(Video("v", 60, 90))
    steps = workload.steps(3) + workload.steps(2)
    assert [step.block.start for step in steps] == [60, 63, 66, 69, 72]
    assert {(step.start, step.stop) for step in steps} == {(SINK, 60 - GUARD)}


def test_expected_hits_are_the_best_of_a_sorted_float64_search():
    workload = Workload(Video("v", 120, 150))
    history = np.concatenate([workload.block(frames).embeddings for frames in workload.history()])
    for step in workload.steps(4):
        scores = history[step.start : step.stop].astype(np.float64) @ step.query.astype(np.float64)
        assert step.expected == tuple((np.argsort(-scores)[:K] + step.start).tolist())


def test_embeddings_and_queries_have_unit_norm():
    step = Workload(Video("v", 60, 90)).steps(1)[0]
    assert step.block.embeddings.shape == (3, EMBEDDING_DIM)
    assert np.linalg.norm(step.block.embeddings, axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    assert float(np.linalg.norm(step.query)) == pytest.approx(1.0, abs=1e-5)


def test_revisiting_keeps_about_the_share_of_hits_that_was_asked_for():
    workload = Workload(Video("v", 480, 1000, revisit=0.9))
    hits = [set(step.expected) for step in workload.steps(150)]
    kept = np.mean([len(a & b) / K for a, b in pairwise(hits)])
    assert kept == pytest.approx(0.9, abs=0.04)
    assert all(min(h) >= SINK and max(h) < 480 - GUARD for h in hits)


def test_small_histories_have_whole_latents_only_among_the_newest():
    video = Video("v", 1000, 1030, small_history=True, revisit=0.0)
    workload = Workload(video)
    assert len(workload.payload(1000 - FULL_FRAMES - 1)) == SMALL_BYTES
    assert len(workload.payload(1000 - FULL_FRAMES)) == LATENT_BYTES
    assert all(min(step.expected) >= video.first_full for step in workload.steps(20))
