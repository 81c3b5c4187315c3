"""RPCs of pools and of the server as a whole."""
# ruff: noqa: ARG002, N802 -- names and signatures are gRPC's

from dataclasses import replace

import grpc

from memory_service import wire
from memory_service.rpcs.base import Rpcs
from memory_service.security.access import sees
from memory_service.serving.paging import check_place, fill, rows_wanted
from memory_service.v1 import memory_pb2 as pb


class PoolRpcs(Rpcs):
    """CreatePool, GetPool, ListPools, UpdatePool, DropPool, Heartbeat, ServerInfo."""

    def CreatePool(
        self, request: pb.CreatePoolRequest, context: grpc.ServicerContext
    ) -> pb.CreatePoolResponse:
        wire.require(request, "spec")
        pool = self._memory.create_pool(request.pool, wire.pool_spec_from_proto(request.spec))
        return pb.CreatePoolResponse(pool=wire.pool_to_proto(pool))

    def GetPool(self, request: pb.GetPoolRequest, context: grpc.ServicerContext) -> pb.GetPoolResponse:
        return pb.GetPoolResponse(pool=wire.pool_to_proto(self._memory.get_pool(request.pool)))

    def ListPools(self, request: pb.ListPoolsRequest, context: grpc.ServicerContext) -> pb.ListPoolsResponse:
        max_rows = rows_wanted(request.page_size)
        check_place(request.page_token)
        pools = (
            pool for pool in self._memory.list_pools() if pool.pool > request.page_token and sees(pool.pool)
        )
        page, more = fill(map(wire.pool_to_proto, pools), pb.Pool.ByteSize, self._budget_bytes, max_rows)
        return pb.ListPoolsResponse(pools=page, next_page_token=page[-1].pool if more else "")

    def UpdatePool(
        self, request: pb.UpdatePoolRequest, context: grpc.ServicerContext
    ) -> pb.UpdatePoolResponse:
        wire.require(request, "spec")
        pool = self._memory.update_pool(request.pool, wire.pool_spec_from_proto(request.spec))
        return pb.UpdatePoolResponse(pool=wire.pool_to_proto(pool))

    def DropPool(self, request: pb.DropPoolRequest, context: grpc.ServicerContext) -> pb.DropPoolResponse:
        self._memory.drop_pool(request.pool, with_videos=request.with_videos)
        return pb.DropPoolResponse()

    def Heartbeat(self, request: pb.HeartbeatRequest, context: grpc.ServicerContext) -> pb.HeartbeatResponse:
        keys = [wire.key_from_proto(key) for key in wire.few(request.keys, "keys")]
        return pb.HeartbeatResponse(missing=map(wire.key_to_proto, self._memory.heartbeat(keys)))

    def ServerInfo(
        self, request: pb.ServerInfoRequest, context: grpc.ServicerContext
    ) -> pb.ServerInfoResponse:
        info = replace(self._memory.info(), local_path=self._local is not None)
        return wire.info_to_proto(info)
