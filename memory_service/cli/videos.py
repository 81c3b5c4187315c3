"""Commands about videos: what there is, and what can be done to one."""

import argparse

from memory_service.cli.asking import KEY_METAVAR, POOL_METAVAR, asking, asks, parse_key
from memory_service.cli.command import Command
from memory_service.cli.output import Answer, Row, time_of
from memory_service.errors import NotFound
from memory_service.memory import Memory
from memory_service.types import Retrieval, VideoInfo

_PAGE = 1000
"""Videos per question, so that a pool of 100,000 is a stream and not one answer."""


def _videos(memory: Memory, options: argparse.Namespace) -> Answer:
    found: list[Row] = []
    after = ""
    while page := memory.list_videos(options.pool, after=after, limit=_PAGE):
        found += map(video_row, page)
        after = page[-1].key.video
    return found


def _show(memory: Memory, options: argparse.Namespace) -> Answer:
    key = parse_key(options.key)
    found = memory.get_video(key)
    newest = memory.retrievals(key, limit=options.last, newest_first=True) if options.last > 0 else []
    return {
        **video_row(found),
        "metadata": dict(found.spec.metadata),
        "retrievals": [_retrieval_row(one) for one in reversed(newest)],
    }


def _drop(memory: Memory, options: argparse.Namespace) -> Answer:
    memory.drop_video(parse_key(options.key))
    return {"dropped": options.key}


def _fork(memory: Memory, options: argparse.Namespace) -> Answer:
    parent, child = parse_key(options.parent), parse_key(options.key)
    return video_row(memory.fork_video(parent, child, length=options.length, epoch=options.epoch))


def _truncate(memory: Memory, options: argparse.Namespace) -> Answer:
    key = parse_key(options.key)
    return video_row(memory.truncate_video(key, options.length, epoch=options.epoch))


def _seal(memory: Memory, options: argparse.Namespace) -> Answer:
    return video_row(memory.seal_video(parse_key(options.key), epoch=options.epoch))


def _heartbeat(memory: Memory, options: argparse.Namespace) -> Answer:
    missing = memory.heartbeat([parse_key(text) for text in options.keys])
    if missing:
        names = ", ".join(map(str, missing))
        raise NotFound(f"not there: {names}", field="keys", expected="videos that were created")
    return {"alive": len(options.keys)}


def video_row(found: VideoInfo) -> Row:
    """What the tables say of a video."""
    spec, state = found.spec, found.state
    return {
        "video": str(found.key),
        "length": state.length,
        "durable": state.durable,
        "epoch": state.epoch,
        "sealed": found.sealed,
        "bytes": found.num_bytes,
        "latent": f"{spec.latent_dtype}[{','.join(map(str, spec.latent_shape))}]",
        "embedding_dim": spec.embedding_dim,
        "encoder": spec.encoder_id,
        "created": time_of(found.created_unix_ms),
        "parent": f"{found.parent.key}@{found.parent.length}" if found.parent else None,
    }


def _retrieval_row(one: Retrieval) -> Row:
    return {
        "time": time_of(one.unix_ms),
        "length": one.length,
        "query_frame": one.query_frame,
        "eligible": f"[{one.eligible.start},{one.eligible.stop})",
        "candidates": one.num_candidates,
        "k": one.k,
        "policy": one.policy,
        "frames": " ".join(map(str, one.frames)),
        "scores": " ".join(f"{score:.3f}" for score in one.scores),
        "videos": " ".join(map(str, one.videos)),
        "search_us": one.search_us,
    }


def _pool(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pool", metavar=POOL_METAVAR)


def _key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("key", metavar=KEY_METAVAR)


def _keys(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("keys", nargs="+", metavar=KEY_METAVAR)


def _key_and_last(parser: argparse.ArgumentParser) -> None:
    _key(parser)
    parser.add_argument(
        "--last", type=int, default=10, metavar="N", help="retrievals shown (default: %(default)s)"
    )


def _key_and_yes(parser: argparse.ArgumentParser) -> None:
    _key(parser)
    parser.add_argument("--yes", action="store_true", required=True, help="required: there is no way back")


def _key_and_epoch(parser: argparse.ArgumentParser) -> None:
    _key(parser)
    parser.add_argument("--epoch", type=int, metavar="E", help="fail if the video has moved on from this one")


def _parent_and_key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("parent", metavar=KEY_METAVAR, help="the video to fork")
    parser.add_argument("key", metavar=KEY_METAVAR, help="the new video")
    parser.add_argument("--length", type=int, metavar="N", help="frames shared, the end of a block; else all")
    parser.add_argument(
        "--epoch", type=int, metavar="E", help="fail if the parent has moved on from this one"
    )


def _key_length_and_yes(parser: argparse.ArgumentParser) -> None:
    _key_and_epoch(parser)
    parser.add_argument("--length", type=int, required=True, metavar="N", help="frames that stay")
    parser.add_argument("--yes", action="store_true", required=True, help="required: there is no way back")


COMMANDS = (
    Command(
        name="videos",
        help="the videos of a pool",
        example="reverie-memory videos films --json",
        arguments=asking(_pool),
        run=asks(_videos),
    ),
    Command(
        name="show",
        help="spec, state and last retrievals of a video",
        example="reverie-memory show films/take-1 --last 3",
        arguments=asking(_key_and_last),
        run=asks(_show),
    ),
    Command(
        name="fork",
        help="make a new video that shares the first frames of another",
        example="reverie-memory fork films/take-1 films/take-2 --length 240",
        arguments=asking(_parent_and_key),
        run=asks(_fork),
    ),
    Command(
        name="truncate",
        help="roll a video back to its first frames",
        example="reverie-memory truncate films/take-1 --length 240 --yes",
        arguments=asking(_key_length_and_yes),
        run=asks(_truncate),
    ),
    Command(
        name="seal",
        help="let a video take no more frames",
        example="reverie-memory seal films/take-1",
        arguments=asking(_key_and_epoch),
        run=asks(_seal),
    ),
    Command(
        name="heartbeat",
        help="keep videos alive in pools with a time to live",
        example="reverie-memory heartbeat films/take-1 films/take-2",
        arguments=asking(_keys),
        run=asks(_heartbeat),
    ),
    Command(
        name="drop",
        help="forget a video and all its frames",
        example="reverie-memory drop films/take-1 --yes",
        arguments=asking(_key_and_yes),
        run=asks(_drop),
    ),
)
