"""Which right in which pool each RPC needs: the one table. What is not in it is allowed to nobody."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeAlias

from memory_service.errors import PermissionDenied
from memory_service.security.tokens import EVERY_POOL, Right, Token


class Need(NamedTuple):
    """One right that a request needs, in the pool that one of its fields names."""

    right: Right
    pool: str
    field: str


Rule: TypeAlias = Callable[[Any], Iterable[Need]]
"""What a decoded request needs."""


def _key(*rights: Right) -> Rule:
    """The rights in the pool of `key`."""
    return lambda request: [Need(right, request.key.pool, "key.pool") for right in rights]


def _later_key(right: Right) -> Rule:
    """As `_key`, for messages of a stream: those after the first need not name the video again."""

    def rule(request: Any) -> list[Need]:
        return [Need(right, request.key.pool, "key.pool")] if request.HasField("key") else []

    return rule


def _pool(right: Right) -> Rule:
    return lambda request: [Need(right, request.pool, "pool")]


def _nothing(_request: Any) -> Iterable[Need]:
    """Any valid token will do."""
    return ()


def _search(request: Any) -> Iterator[Need]:
    yield Need(Right.READ, request.key.pool, "key.pool")
    for i, video in enumerate(request.scope.videos):
        yield Need(Right.READ, video.key.pool, f"scope.videos[{i}].key.pool")


def _fetch(request: Any) -> Iterator[Need]:
    for i, handle in enumerate(request.handles):
        yield Need(Right.READ, handle.key.pool, f"handles[{i}].key.pool")


def _fork(request: Any) -> Iterator[Need]:
    yield Need(Right.READ, request.parent.pool, "parent.pool")
    yield Need(Right.WRITE, request.key.pool, "key.pool")


def _heartbeat(request: Any) -> Iterator[Need]:
    for i, key in enumerate(request.keys):
        yield Need(Right.WRITE, key.pool, f"keys[{i}].pool")


def _open_local(_request: Any) -> Iterator[Need]:
    yield Need(Right.ADMIN, EVERY_POOL, "")


RULES: Mapping[str, Rule] = {
    "CreatePool": _pool(Right.ADMIN),
    "GetPool": _pool(Right.READ),
    "ListPools": _nothing,  # the answer holds the pools for which `sees` is true
    "UpdatePool": _pool(Right.ADMIN),
    "DropPool": _pool(Right.ADMIN),
    "CreateVideo": _key(Right.WRITE),
    "GetVideo": _key(Right.READ),
    "ListVideos": _pool(Right.READ),
    "DropVideo": _key(Right.ADMIN),
    "Append": _key(Right.WRITE),
    "AppendStream": _later_key(Right.WRITE),
    "Search": _search,
    "Fetch": _fetch,
    "Advance": _key(Right.READ, Right.WRITE),
    "AdvanceStream": _key(Right.READ, Right.WRITE),
    "ForkVideo": _fork,
    "TruncateVideo": _key(Right.WRITE),
    "SealVideo": _key(Right.WRITE),
    "Heartbeat": _heartbeat,
    "ExportVideo": _key(Right.READ),
    "ImportVideo": _later_key(Right.WRITE),
    "Watch": _pool(Right.READ),
    "OpenLocal": _open_local,
    "ListRetrievals": _key(Right.READ),
    "ServerInfo": _nothing,
}


def _of_key(request: Any) -> tuple[str, str]:
    return request.key.pool, request.key.video


def _of_pool(request: Any) -> tuple[str, str]:
    return request.pool, ""


_SUBJECTS: Mapping[str, Callable[[Any], tuple[str, str]]] = {
    "CreatePool": _of_pool,
    "GetPool": _of_pool,
    "ListPools": lambda _: ("", ""),
    "UpdatePool": _of_pool,
    "DropPool": _of_pool,
    "ListVideos": _of_pool,
    "Fetch": lambda request: _of_key(request.handles[0]) if request.handles else ("", ""),
    "ForkVideo": lambda request: (request.parent.pool, request.parent.video),
    "Heartbeat": lambda request: (request.keys[0].pool, request.keys[0].video) if request.keys else ("", ""),
    "Watch": lambda request: (request.pool, request.video),
    "OpenLocal": lambda _: ("", ""),
    "ServerInfo": lambda _: ("", ""),
}


def subject(method: str, request: Any) -> tuple[str, str]:
    """Pool and video that a request is about, the first of several; empty where it names none."""
    return _SUBJECTS.get(method, _of_key)(request)


def authorize(method: str, request: Any, token: Token | None) -> None:
    """Let a request of `method` pass, or raise PermissionDenied for the first right that it lacks.

    Without a token everything passes: the server has none. The error tells nothing about what is in a pool.
    """
    if token is None:
        return
    rule = RULES.get(method)
    if rule is None:
        raise PermissionDenied(f"nobody may call {method}", details={"right": "none"})
    passed: set[tuple[Right, str]] = set()
    for right, pool, field in rule(request):
        if (right, pool) in passed:
            continue
        if not token.allows(right, pool):
            raise _denied(right, pool, field)
        passed.add((right, pool))


def work_for(token: Token | None) -> None:
    """From now on this context works for `token`, until it works for another."""
    _caller.set(token)


def sees(pool: str) -> bool:
    """Whether the caller for whom this context works has any right in a pool; everybody without tokens."""
    token = _caller.get()
    return token is None or token.sees(pool)


_caller: ContextVar[Token | None] = ContextVar("caller", default=None)


def _denied(right: Right, pool: str, field: str) -> PermissionDenied:
    where = "every pool" if pool == EVERY_POOL else f"pool {pool[:140]!r}"
    return PermissionDenied(
        f"the token does not give the right {right} in {where}",
        field=field,
        expected=f"a token with {right} in {where}",
        details={"right": str(right), "pool": pool},
    )
