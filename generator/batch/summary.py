"""A rollout's record in a few numbers, for the manifest; the record itself has every block."""

from __future__ import annotations

from statistics import fmean

from generator.records.record import RolloutRecord


def timings_of(record: RolloutRecord) -> dict[str, object]:
    """Blocks, and the mean milliseconds of each part of one."""
    parts = sorted({part for block in record.blocks for part in block.parts_ms})
    means = {part: fmean(block.parts_ms.get(part, 0.0) for block in record.blocks) for part in parts}
    return {"blocks": len(record.blocks), "mean_ms": means}


def retrievals_of(record: RolloutRecord) -> dict[str, object]:
    """How many blocks had how many latent frames retrieved, from how far back, and their mean cosine."""
    hits = [(block, hit) for block in record.blocks for hit in block.retrieved]
    return {
        "blocks": sum(bool(block.retrieved) for block in record.blocks),
        "frames": len(hits),
        "distinct_frames": len({(hit.pool, hit.video, hit.frame) for _, hit in hits}),
        "oldest_frames_ago": max((block.start - hit.frame for block, hit in hits), default=0),
        "mean_score": fmean(hit.score for _, hit in hits) if hits else None,
    }
