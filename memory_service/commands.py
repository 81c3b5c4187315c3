"""What the command line asks of a memory, and how it prints the answers."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from memory_service.errors import InvalidArgument
from memory_service.memory import Memory
from memory_service.types import Retrieval, VideoInfo, VideoKey

Row = Mapping[str, Any]


def parse_key(text: str) -> VideoKey:
    """The video that "POOL/VIDEO" names."""
    pool, slash, video = text.partition("/")
    if not slash:
        raise InvalidArgument(f"{text!r} names no video", field="key", expected="POOL/VIDEO")
    return VideoKey(pool, video)


def info(memory: Memory) -> Row:
    """Version, index and limits."""
    return asdict(memory.info())


def videos(memory: Memory, pool: str) -> Sequence[Row]:
    """One row per video of a pool."""
    return [_video(found) for found in memory.list_videos(pool)]


def show(memory: Memory, key: VideoKey, last: int) -> Row:
    """Spec, state and the `last` newest retrievals of a video."""
    found = memory.get_video(key)
    retrievals = list(memory.retrievals(key))[-last:] if last > 0 else []
    return {
        **_video(found),
        "metadata": dict(found.spec.metadata),
        "retrievals": list(map(_retrieval, retrievals)),
    }


def drop(memory: Memory, key: VideoKey) -> Row:
    """Forget a video."""
    memory.drop_video(key)
    return {"dropped": f"{key.pool}/{key.video}"}


def as_json(answer: Row | Sequence[Row]) -> str:
    """For programs: one JSON document."""
    return json.dumps(answer, indent=2)


def as_text(answer: Row | Sequence[Row]) -> str:
    """For people: a table of rows, or a line for each value of one row with tables below."""
    if not isinstance(answer, Mapping):
        return _table(answer)
    width = max(map(len, answer))
    lines = [
        f"{name:<{width}}  {_cell(value)}" for name, value in answer.items() if not isinstance(value, list)
    ]
    tables = [f"\n{name}\n{_table(rows)}" for name, rows in answer.items() if isinstance(rows, list)]
    return "\n".join(lines + tables)


def _video(found: VideoInfo) -> Row:
    spec, state = found.spec, found.state
    return {
        "video": f"{found.key.pool}/{found.key.video}",
        "length": state.length,
        "durable": state.durable,
        "epoch": state.epoch,
        "latent": f"{spec.latent_dtype}[{','.join(map(str, spec.latent_shape))}]",
        "embedding_dim": spec.embedding_dim,
        "encoder": spec.encoder_id,
        "created": _time(found.created_unix_ms),
    }


def _retrieval(one: Retrieval) -> Row:
    return {
        "time": _time(one.unix_ms),
        "length": one.length,
        "query_frame": one.query_frame,
        "eligible": f"[{one.eligible.start},{one.eligible.stop})",
        "k": one.k,
        "frames": " ".join(map(str, one.frames)),
        "scores": " ".join(f"{score:.3f}" for score in one.scores),
        "search_us": one.search_us,
    }


def _time(unix_ms: int) -> str:
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="milliseconds")


def _table(rows: Sequence[Row]) -> str:
    if not rows:
        return "none"
    cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{name}={text!r}" for name, text in value.items()) or "-"
    return "-" if value is None or value == "" else str(value)
