"""The boundary of pools, heartbeats and lists; what `validate` is for videos and blocks."""

from collections.abc import Sequence
from dataclasses import fields

from memory_service.boundary.checks import check_size, check_whole
from memory_service.boundary.validate import check_key
from memory_service.errors import InvalidArgument
from memory_service.limits import Limits
from memory_service.types import PoolSpec, VideoKey


def check_pool_spec(spec: PoolSpec, field: str = "spec.") -> None:
    """Raises InvalidArgument unless every limit is a whole number from 0; `field` is put before its name."""
    for one in fields(PoolSpec):
        check_whole(getattr(spec, one.name), f"{field}{one.name}")


def check_keys(keys: Sequence[VideoKey], limits: Limits) -> None:
    """Raises InvalidArgument, TooLarge."""
    check_size(len(keys), limits.max_keys, "keys", "a heartbeat", unit="videos")
    for number, key in enumerate(keys):
        check_key(key, f"keys[{number}]")


def check_list(after: str, limit: int | None) -> None:
    """Raises InvalidArgument unless a list can begin behind `after` and have at most `limit` rows."""
    if not isinstance(after, str):
        raise InvalidArgument("a name is text", field="after", expected="the name of the last video seen")
    if limit is not None:
        check_whole(limit, "limit", least=1)
