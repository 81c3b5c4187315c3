"""Composition root: an engine behind a gRPC server, from its configuration to its end.

The server is synchronous, one thread per request. With 1, 4 and 16 client processes that send 600 KB and get
1.2 MB it answers 556, 537 and 320 requests/s; grpc.aio with the same handlers in a thread pool 540, 428 and
332 (medians of 6 and 3 runs, 2 busy cores). Nothing that an event loop before a blocking engine would earn.
"""

import ctypes
import logging
import platform
import shlex
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from os import getpid
from types import FrameType

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from threadpoolctl import ThreadpoolController

from memory_service.config import UNIX, ServiceConfig
from memory_service.engine import MemoryEngine
from memory_service.errors import Busy
from memory_service.interceptors import RequestInterceptor
from memory_service.limits import Limits
from memory_service.servicer import Servicer
from memory_service.v1 import memory_pb2, memory_pb2_grpc

log = logging.getLogger(__name__)

SERVICE: str = memory_pb2.DESCRIPTOR.services_by_name["MemoryService"].full_name

ENVELOPE_BYTES = 1 << 20
"""Room beside the largest block, so that one too large is refused by its name and not by gRPC."""


KEPT_BYTES = 256 << 20
"""Freed memory that the process keeps for the next message."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Numbers of mallopt's parameters in glibc's malloc.h."""


class Server:
    """A memory that listens. `address` is where, with the real port."""

    def __init__(self, config: ServiceConfig) -> None:
        """Open the data directory and bind the address; nothing is served before `start`.

        Raises Busy when another process has the directory or the address, InvalidArgument, Unavailable.
        """
        self._config = config
        self._engine = MemoryEngine(
            config.data_dir,
            index=config.index,
            limits=Limits(max_message_bytes=config.max_message_bytes),
            durability=config.durability,
            commit_interval_s=config.commit_interval_s,
            max_hot_videos=config.max_hot_videos,
        )
        try:
            self._health = health.HealthServicer()
            self._server = _grpc_server(config)
            self.address = _bind(self._server, config.address)
            self._register()
        except BaseException:
            self._engine.close()
            raise

    def _register(self) -> None:
        servicer = Servicer(self._engine, self._engine.limits)
        memory_pb2_grpc.add_MemoryServiceServicer_to_server(  # type: ignore[no-untyped-call]
            servicer, self._server
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    def start(self) -> None:
        """Serve, and say so to health checks."""
        self._server.start()
        for name in ("", SERVICE):
            self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    def stop(self) -> None:
        """Take no more requests, let those that run finish, make everything durable."""
        self._health.enter_graceful_shutdown()
        self._server.stop(self._config.drain_s).wait()
        self._engine.close()


def serve(config: ServiceConfig) -> None:
    """Serve until SIGTERM or SIGINT, then drain. Prints one line on standard output once it serves."""
    _keep_freed_memory()
    stopping = threading.Event()

    def stop(signum: int, _frame: FrameType | None) -> None:
        log.info("signal=%s draining", signal.Signals(signum).name)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    server = Server(config)
    server.start()
    where = shlex.quote(str(config.data_dir.resolve()))
    print(f"serving address={server.address} data={where} index={config.index} pid={getpid()}", flush=True)
    stopping.wait()
    server.stop()
    log.info("stopped")


def _grpc_server(config: ServiceConfig) -> grpc.Server:
    # One thread of BLAS and OpenMP per request: two of them on two cores took a search of 480 frames from
    # 0.09 to 6 ms as soon as a neighbour was busy. OpenMP keeps the number per thread, hence the initializer.
    one_thread = partial(ThreadpoolController().limit, limits=1)
    one_thread()
    threads = ThreadPoolExecutor(config.num_threads, thread_name_prefix="request", initializer=one_thread)
    options = [
        ("grpc.max_receive_message_length", config.max_message_bytes + ENVELOPE_BYTES),
        ("grpc.max_send_message_length", -1),  # answers are cut to size by the servicer
        ("grpc.max_concurrent_streams", config.max_streams),
        ("grpc.max_metadata_size", config.max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", config.max_metadata_bytes),
        ("grpc.so_reuseport", 0),  # a second server on the same port must fail, not share it
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ]
    return grpc.server(
        threads,
        interceptors=[RequestInterceptor(SERVICE)],
        options=options,
        maximum_concurrent_rpcs=config.max_concurrent_rpcs,
    )


def _bind(server: grpc.Server, address: str) -> str:
    """Listen there. Returns the address with its real port."""
    if address.startswith(UNIX):
        _check_unused(address.removeprefix(UNIX))
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as exc:
        raise Busy(f"cannot listen on {address}: {exc}", field="address", expected="a free address") from exc
    return address if address.startswith(UNIX) else f"{address.rpartition(':')[0]}:{port}"


def _check_unused(path: str) -> None:
    """gRPC replaces the socket that it finds: right for one left by a crash, not for a server's that runs."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return
    raise Busy(f"another server listens on {UNIX}{path}", field="address", expected="a free address")


def _keep_freed_memory() -> None:
    """Let glibc reuse the buffers of large messages instead of returning them to the kernel page by page."""
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
