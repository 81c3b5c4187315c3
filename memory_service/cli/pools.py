"""Commands about pools: their quotas, their time to live, what they use."""

import argparse

from memory_service.cli.asking import POOL_METAVAR, asking, asks
from memory_service.cli.command import Command
from memory_service.cli.output import Answer, Row
from memory_service.cli.quantities import num_bytes, seconds
from memory_service.errors import InvalidArgument
from memory_service.memory import Memory
from memory_service.types import PoolInfo, PoolSpec


def _list(memory: Memory, options: argparse.Namespace) -> Answer:  # noqa: ARG001
    return list(map(pool_row, memory.list_pools()))


def _create(memory: Memory, options: argparse.Namespace) -> Answer:
    return pool_row(memory.create_pool(options.pool, _changed(PoolSpec(), options)))


def _update(memory: Memory, options: argparse.Namespace) -> Answer:
    if (options.max_bytes, options.max_videos, options.ttl) == (None, None, None):
        raise InvalidArgument(
            "nothing to update", field="spec", expected="--max-bytes, --max-videos or --ttl"
        )
    there = memory.get_pool(options.pool).spec
    return pool_row(memory.update_pool(options.pool, _changed(there, options)))


def _drop(memory: Memory, options: argparse.Namespace) -> Answer:
    memory.drop_pool(options.pool, with_videos=options.with_videos)
    return {"dropped": options.pool}


def _changed(spec: PoolSpec, options: argparse.Namespace) -> PoolSpec:
    """`spec` with what the options name; what they leave out stays."""
    return PoolSpec(
        max_bytes=spec.max_bytes if options.max_bytes is None else options.max_bytes,
        max_videos=spec.max_videos if options.max_videos is None else options.max_videos,
        ttl_ms=spec.ttl_ms if options.ttl is None else round(1000 * options.ttl),
    )


def pool_row(found: PoolInfo) -> Row:
    """What the tables say of a pool; limits of 0 are none."""
    spec, usage = found.spec, found.usage
    return {
        "pool": found.pool,
        "videos": usage.num_videos,
        "max_videos": spec.max_videos,
        "bytes": usage.num_bytes,
        "max_bytes": spec.max_bytes,
        "hot": usage.hot_videos,
        "index_bytes": usage.index_bytes,
        "ttl_s": spec.ttl_ms / 1000,
    }


def _pool_and_limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pool", metavar=POOL_METAVAR)
    parser.add_argument(
        "--max-bytes", type=num_bytes, metavar="N", help="most bytes on disk, e.g. 10GiB; 0: no limit"
    )
    parser.add_argument("--max-videos", type=int, metavar="N", help="most videos; 0: no limit")
    parser.add_argument(
        "--ttl", type=seconds, metavar="S", help="drop videos unused for so long, e.g. 2h; 0: never"
    )


def _pool_and_yes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pool", metavar=POOL_METAVAR)
    parser.add_argument("--with-videos", action="store_true", help="drop its videos too")
    parser.add_argument("--yes", action="store_true", required=True, help="required: there is no way back")


COMMANDS = (
    Command(
        name="pools",
        help="list, create, update or drop pools",
        example="reverie-memory pools create films --max-bytes 100GiB --ttl 7d",
        commands=(
            Command(
                name="list",
                help="all pools, what they allow and what they use",
                example="reverie-memory pools list",
                arguments=asking(),
                run=asks(_list),
            ),
            Command(
                name="create",
                help="create a pool; the same again changes nothing",
                example="reverie-memory pools create films --max-bytes 100GiB --max-videos 500",
                arguments=asking(_pool_and_limits),
                run=asks(_create),
            ),
            Command(
                name="update",
                help="change the limits that are named",
                example="reverie-memory pools update films --ttl 7d",
                arguments=asking(_pool_and_limits),
                run=asks(_update),
            ),
            Command(
                name="drop",
                help="forget a pool",
                example="reverie-memory pools drop films --with-videos --yes",
                arguments=asking(_pool_and_yes),
                run=asks(_drop),
            ),
        ),
    ),
)
