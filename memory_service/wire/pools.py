"""Pools and the server: what they allow and what is used."""

from dataclasses import asdict, fields

from memory_service.types import PoolInfo, PoolSpec, PoolUsage, ServerInfo
from memory_service.v1 import memory_pb2 as pb
from memory_service.wire.fields import fill


def pool_spec_to_proto(spec: PoolSpec, field: str = "spec") -> pb.PoolSpec:
    return fill(pb.PoolSpec(), f"{field}.", **asdict(spec))


def pool_spec_from_proto(message: pb.PoolSpec) -> PoolSpec:
    return PoolSpec(message.max_bytes, message.max_videos, message.ttl_ms)


def pool_to_proto(info: PoolInfo) -> pb.Pool:
    usage = pb.PoolUsage(**asdict(info.usage))
    return pb.Pool(pool=info.pool, spec=pool_spec_to_proto(info.spec), usage=usage)


def pool_from_proto(message: pb.Pool) -> PoolInfo:
    usage = PoolUsage(**{field.name: getattr(message.usage, field.name) for field in fields(PoolUsage)})
    return PoolInfo(message.pool, pool_spec_from_proto(message.spec), usage)


def info_to_proto(info: ServerInfo) -> pb.ServerInfoResponse:
    return pb.ServerInfoResponse(**asdict(info))


def info_from_proto(message: pb.ServerInfoResponse) -> ServerInfo:
    return ServerInfo(**{field.name: getattr(message, field.name) for field in fields(ServerInfo)})
