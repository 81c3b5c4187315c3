"""The service of memory.proto over any `Memory`."""
# ruff: noqa: ARG002, N802 -- names and signatures are gRPC's

import grpc

from memory_service.errors import Unavailable
from memory_service.rpcs.frames import FrameRpcs
from memory_service.rpcs.pools import PoolRpcs
from memory_service.rpcs.streams import StreamRpcs
from memory_service.rpcs.videos import VideoRpcs
from memory_service.v1 import memory_pb2 as pb
from memory_service.v1.memory_pb2_grpc import MemoryServiceServicer


class Servicer(PoolRpcs, VideoRpcs, FrameRpcs, StreamRpcs, MemoryServiceServicer):
    """Every RPC; each is one verb of the memory, and errors pass through to the interceptor."""

    def OpenLocal(self, request: pb.OpenLocalRequest, context: grpc.ServicerContext) -> pb.OpenLocalResponse:
        raise Unavailable(
            "the local path is not offered", field="staging_bytes", expected="a server that runs with it"
        )
