"""The service of memory.proto over any `Memory`."""

from memory_service.rpcs.frames import FrameRpcs
from memory_service.rpcs.pools import PoolRpcs
from memory_service.rpcs.streams import StreamRpcs
from memory_service.rpcs.videos import VideoRpcs
from memory_service.v1.memory_pb2_grpc import MemoryServiceServicer


class Servicer(PoolRpcs, VideoRpcs, FrameRpcs, StreamRpcs, MemoryServiceServicer):
    """Every RPC; each is one verb of the memory, and errors pass through to the interceptor."""
