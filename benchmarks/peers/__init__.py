"""Every peer that can be measured, by the name under which tables show it."""

from benchmarks.peers.base import Durability, Kind
from benchmarks.peers.chroma import Chroma
from benchmarks.peers.floor import Floor
from benchmarks.peers.inline_grpc import EmptyRpc, InlineGrpc
from benchmarks.peers.lance import Lance
from benchmarks.peers.lmdb_store import Lmdb
from benchmarks.peers.milvus import MilvusLite
from benchmarks.peers.numpy_arrays import NumpyArrays
from benchmarks.peers.ours import Engine, Service
from benchmarks.peers.plain_files import PlainFile
from benchmarks.peers.postgres import Postgres
from benchmarks.peers.qdrant_edge import QdrantEdge
from benchmarks.peers.qdrant_local import QdrantLocal
from benchmarks.peers.redis_server import Redis
from benchmarks.peers.reference import ReferenceList
from benchmarks.peers.sqlite_vec import SqliteVec

_MEM, _FILE, _SYNC = Durability.MEM, Durability.FILE, Durability.SYNC

PEERS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Floor("floor, memory", _MEM),
        Floor("floor, file", _FILE),
        Floor("floor, fdatasync", _SYNC),
        EmptyRpc("empty RPC, unix", _MEM, unix=True),
        EmptyRpc("empty RPC, tcp", _MEM, unix=False),
        Engine("ours, embedded", _FILE),
        Service("ours, local", _FILE, local=True),
        Service("ours, unix inline", _FILE),
        Service("ours, tcp inline", _FILE, transport="tcp"),
        Service("ours, local, sync", _SYNC, local=True),
        Service("ours, unix inline, sync", _SYNC),
        NumpyArrays("numpy in process", _MEM),
        ReferenceList("list, stack, bmm, topk", _MEM),
        InlineGrpc("gRPC of three RPCs, unix", _MEM, unix=True),
        InlineGrpc("gRPC of three RPCs, tcp", _MEM, unix=False),
        PlainFile("plain file", _FILE),
        PlainFile("plain file, fdatasync", _SYNC),
        Lmdb("LMDB, no sync", _FILE),
        Lmdb("LMDB", _SYNC),
        Redis("Redis", _MEM),
        Redis("Redis, AOF always", _SYNC),
        SqliteVec("sqlite-vec, WAL normal", _FILE),
        SqliteVec("sqlite-vec, WAL full", _SYNC),
        Postgres("pgvector, async commit", _FILE),
        Postgres("pgvector", _SYNC),
        Lance("LanceDB", _FILE),
        QdrantEdge("Qdrant edge", _FILE),
        QdrantEdge("Qdrant edge, flush", _SYNC),
        QdrantLocal("Qdrant local, memory", _MEM),
        QdrantLocal("Qdrant local", _SYNC),
        MilvusLite("Milvus lite", _FILE),
        Chroma("Chroma", _SYNC),
    )
}
"""In the order in which a table shows equals. Redis keeps its matrix in the client."""

CACHED = Service("ours, unix inline, cache", _FILE, cache=True)
"""Measured beside `ours, unix inline` with queries that return to what was fetched before."""
