"""Verbs of pools and of the server as a whole."""

from collections.abc import Sequence

from memory_service import wire
from memory_service.errors import NotFound, ServiceError
from memory_service.remote.verbs import Verbs
from memory_service.remote.watch import RemoteWatch
from memory_service.types import PoolInfo, PoolSpec, ServerInfo, VideoKey
from memory_service.v1 import memory_pb2 as pb


class PoolVerbs(Verbs):
    """The verbs of `Memory` that are about pools, about many videos or about the server."""

    def create_pool(self, pool: str, spec: PoolSpec) -> PoolInfo:
        """Create a pool, or get the one that is there with the same spec.

        Raises AlreadyExists when it is there with another spec, InvalidArgument.
        """
        request = pb.CreatePoolRequest(spec=wire.pool_spec_to_proto(spec))
        wire.fill(request, pool=pool)
        return wire.pool_from_proto(self._call(self._stub.CreatePool, request).pool)

    def get_pool(self, pool: str) -> PoolInfo:
        """Spec and usage of a pool. Raises NotFound."""
        request = wire.fill(pb.GetPoolRequest(), pool=pool)
        return wire.pool_from_proto(self._call(self._stub.GetPool, request).pool)

    def list_pools(self) -> Sequence[PoolInfo]:
        """All pools in which the caller has a right, by name."""
        request = pb.ListPoolsRequest()
        pools: list[PoolInfo] = []
        while True:
            response = self._call(self._stub.ListPools, request)
            pools += map(wire.pool_from_proto, response.pools)
            request.page_token = response.next_page_token
            if not request.page_token:
                return pools

    def update_pool(self, pool: str, spec: PoolSpec) -> PoolInfo:
        """Replace a pool's spec; a quota below what is used only refuses more.

        Raises NotFound, InvalidArgument.
        """
        request = pb.UpdatePoolRequest(spec=wire.pool_spec_to_proto(spec))
        wire.fill(request, pool=pool)
        return wire.pool_from_proto(self._call(self._stub.UpdatePool, request).pool)

    def drop_pool(self, pool: str, *, with_videos: bool = False) -> None:
        """Forget a pool. Raises NotFound, and NotEmpty where it has videos that are not dropped with it."""
        request = wire.fill(pb.DropPoolRequest(), pool=pool, with_videos=with_videos)
        self._call(self._stub.DropPool, request, recover=gone)
        self._writer.forget_pool(pool)

    def heartbeat(self, keys: Sequence[VideoKey]) -> Sequence[VideoKey]:
        """Keep videos alive in pools with a time to live. Returns the keys that are not there."""
        messages = [wire.key_to_proto(key, f"keys[{i}]") for i, key in enumerate(keys)]
        response = self._call(self._stub.Heartbeat, pb.HeartbeatRequest(keys=messages))
        return [wire.key_from_proto(key) for key in response.missing]

    def watch(self, pool: str, video: str = "") -> RemoteWatch:
        """What happens in a pool, or to one video of it, from now on; the first event is WATCHING.

        Close it when done: it takes a place at the server. It is not tried again: when the server goes, the
        iteration raises Unavailable, and what happens until the next `watch` is not told. Raises
        InvalidArgument, Overloaded where there are too many watchers.
        """
        return RemoteWatch(self._connection, wire.fill(pb.WatchRequest(), pool=pool, video=video))

    def info(self) -> ServerInfo:
        """What is serving, and its limits."""
        return wire.info_from_proto(self._call(self._stub.ServerInfo, pb.ServerInfoRequest()))


def gone(error: ServiceError) -> None:
    """After a drop whose answer was lost, what is not there any more was dropped by it."""
    if not isinstance(error, NotFound):
        raise error
