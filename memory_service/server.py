"""Composition root: an engine behind a gRPC server, from its configuration to its end.

The server is synchronous, one thread per request. With 1, 4 and 16 client processes that send 600 KB and get
1.2 MB it answers 556, 537 and 320 requests/s; grpc.aio with the same handlers in a thread pool 540, 428 and
332 (medians of 6 and 3 runs, 2 busy cores). Nothing that an event loop before a blocking engine would earn.
"""

import logging
import os
import shlex
import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from os import getpid
from queue import SimpleQueue
from types import FrameType, SimpleNamespace
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from threadpoolctl import ThreadpoolController

from memory_service.config import ServiceConfig
from memory_service.engine import MemoryEngine
from memory_service.interceptors import RequestInterceptor
from memory_service.limits import Limits
from memory_service.local.sessions import LocalSessions
from memory_service.security.tls import Certificates, ServerTLS
from memory_service.servicer import Servicer
from memory_service.serving.binding import bind
from memory_service.serving.gate import Gate, Load
from memory_service.serving.health import Health
from memory_service.serving.local_calls import LocalCalls
from memory_service.serving.observer import Observer
from memory_service.serving.process import allow_open_files, forget_what_stays, keep_freed_memory
from memory_service.serving.watchdog import Watchdog
from memory_service.telemetry.telemetry import Telemetry
from memory_service.v1 import memory_pb2, memory_pb2_grpc
from memory_service.wire.local_call import read_local_call
from memory_service.workers import Worker

log = logging.getLogger(__name__)

SERVICE: str = memory_pb2.DESCRIPTOR.services_by_name["MemoryService"].full_name

ENVELOPE_BYTES = 1 << 20
"""Room beside the largest block, so that one too large is refused by its name and not by gRPC."""

_STRAGGLERS_S = 2.0
"""Time that calls get to reach a safe point once the drain is over."""


class Server:
    """A memory that listens. `address` is where, with the real port."""

    def __init__(self, config: ServiceConfig, observer: Observer | None = None) -> None:
        """Open the data directory and bind the address; nothing is served before `start`.

        `observer` hears of every call. Raises Busy when another process has the directory or the address,
        InvalidArgument, Unavailable.
        """
        self._config = config
        self._certificates = _certificates(config)
        # One thread of BLAS and OpenMP per request: two of them on two cores took a search of 480 frames from
        # 0.09 to 6 ms as soon as a neighbour was busy. OpenMP keeps the number per thread, so each sets it.
        one_thread = partial(ThreadpoolController().limit, limits=1)
        one_thread()
        self._telemetry = Telemetry(config, SERVICE)
        self._gate = Gate(config, observer or self._telemetry.observer, prepare=one_thread)
        try:
            self.engine = _engine(config)
        except BaseException:
            self._gate.close()
            raise
        self._local: LocalSessions | None = None
        self._local_calls: LocalCalls | None = None
        self._health = Health([SERVICE])
        self._watchdog = Watchdog(lambda: self.workers, self._health.set_all)
        self._health.well = lambda: self._watchdog.well
        try:
            if config.local_path:
                self._local = LocalSessions(config.data_dir, max_block_bytes=config.max_message_bytes)
            servicer = Servicer(self.engine, self.engine.limits, self._local)
            interceptors = [RequestInterceptor(SERVICE, self._gate), *self._telemetry.interceptors]
            if self._local is not None:
                handler_of = partial(_advance_stream, servicer, interceptors, self._local)
                most = config.max_message_bytes + ENVELOPE_BYTES
                self._local_calls = LocalCalls(self._local.socket_path, handler_of, max_message_bytes=most)
            self._server = _grpc_server(config, self._gate, interceptors)
            self.address = bind(self._server, config, self._certificates)
            self._register(servicer)
            self._telemetry.start(self)
        except BaseException:
            self._close()
            raise

    @property
    def load(self) -> Load:
        """How much the server has taken on."""
        return self._gate.load

    @property
    def workers(self) -> Sequence[Worker]:
        """The background threads that must live while it serves."""
        local = [part.worker for part in (self._local, self._local_calls) if part is not None]
        return (*self.engine.workers(), self._gate.worker, *local)

    @property
    def metrics_address(self) -> str | None:
        """Where metrics are served, with the real port; None where they are not."""
        return self._telemetry.metrics_address

    @property
    def watchdog(self) -> Watchdog:
        """Who looks after the background threads."""
        return self._watchdog

    def _register(self, servicer: Servicer) -> None:
        memory_pb2_grpc.add_MemoryServiceServicer_to_server(  # type: ignore[no-untyped-call]
            servicer, self._server
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    def start(self) -> None:
        """Serve, and say so to health checks."""
        self._server.start()
        self._health.set_all(True)

    def reload(self) -> bool:
        """Read tokens and certificates again. Files that cannot be used are logged and what was read before
        stays in force; returns whether all could be used.
        """
        tokens = self._gate.reload_tokens()
        return (self._certificates is None or self._certificates.reload()) and tokens

    def stop(self) -> bool:
        """Take no more calls, let those that run finish in `drain_s`, make everything durable.

        Streams of advances, of appends and of events end at once, as UNAVAILABLE. Returns whether every call
        has ended; what a call that has not was doing no longer reaches the disk.
        """
        self._health.enter_graceful_shutdown()
        self._gate.drain()
        if self._local_calls is not None:
            self._local_calls.close()
        drained = self._server.stop(self._config.drain_s)
        if not drained.wait(_STRAGGLERS_S / 4):
            self._gate.probes.cancel()
        drained.wait()
        self._gate.hurry()
        return self._close()

    def hurry(self) -> None:
        """Cut a `stop` that runs in another thread short: whatever still runs is cancelled."""
        self._gate.hurry()
        self._server.stop(0)

    def _close(self) -> bool:
        self._watchdog.close()
        self._telemetry.close()
        if self._local_calls is not None:
            self._local_calls.close()
        ended = self._gate.close(_STRAGGLERS_S)
        if self._local is not None:
            self._local.close()
        self.engine.close()
        return ended


def serve(config: ServiceConfig) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends the drain. SIGHUP: see `Server.reload`.

    Prints one line on standard output once it serves.
    """
    keep_freed_memory()
    allow_open_files()
    os.umask(0o077)  # histories are nobody else's to read
    signals: SimpleQueue[signal.Signals] = SimpleQueue()

    def note(signum: int, _frame: FrameType | None) -> None:
        signals.put(signal.Signals(signum))

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, note)
    server = Server(config)
    forget_what_stays()
    server.start()
    where = shlex.quote(str(config.data_dir.resolve()))
    print(f"serving address={server.address} data={where} index={config.index} pid={getpid()}", flush=True)
    while (number := signals.get()) is signal.SIGHUP:
        server.reload()
    log.info("draining signal=%s", number.name)
    with ThreadPoolExecutor(1) as stopper:
        stopping = stopper.submit(server.stop)
        stopping.add_done_callback(lambda _: signals.put(signal.SIGCHLD))  # which nobody sends: it is over
        while (number := signals.get()) is not signal.SIGCHLD:
            if number is not signal.SIGHUP:
                log.info("draining faster signal=%s", number.name)
                server.hurry()
    ended = stopping.result()
    log.info("stopped")
    if not ended:
        log.warning("calls that did not end are left behind")
        logging.shutdown()
        os._exit(0)  # an orderly exit would wait for their threads


def _engine(config: ServiceConfig) -> MemoryEngine:
    return MemoryEngine(
        config.data_dir,
        index=config.index,
        limits=Limits(max_message_bytes=config.max_message_bytes),
        durability=config.durability,
        commit_interval_s=config.commit_interval_s,
        max_hot_videos=config.max_hot_videos,
        max_index_bytes=config.max_index_bytes,
        max_bytes=config.max_bytes,
        max_videos=config.max_videos,
        max_pools=config.max_pools,
        default_pool=config.default_pool,
        max_watchers=config.max_watchers,
    )


def _certificates(config: ServiceConfig) -> Certificates | None:
    if config.tls_cert is None or config.tls_key is None:
        return None
    return Certificates(ServerTLS(cert=config.tls_cert, key=config.tls_key, client_ca=config.tls_client_ca))


def _advance_stream(
    servicer: Servicer, interceptors: Sequence[grpc.ServerInterceptor], sessions: LocalSessions, first: bytes
) -> Any:
    """The handler of an AdvanceStream over the local path that begins so, as the interceptors leave it.

    Raises InvalidArgument for a session that is not open, DecodeError.
    """
    session, authorization = read_local_call(first)
    sessions.check(session)
    metadata = (("authorization", authorization),) if authorization else ()
    details: Any = SimpleNamespace(method=f"/{SERVICE}/AdvanceStream", invocation_metadata=metadata)
    handler: Any = grpc.stream_stream_rpc_method_handler(
        servicer.AdvanceStream, memory_pb2.AdvanceRequest.FromString
    )
    for interceptor in reversed(interceptors):
        handler = interceptor.intercept_service(partial(_unchanged, handler), details)
    return handler


def _unchanged(handler: Any, _details: grpc.HandlerCallDetails) -> Any:
    return handler


def _grpc_server(
    config: ServiceConfig, gate: Gate, interceptors: Sequence[grpc.ServerInterceptor]
) -> grpc.Server:
    options = [
        ("grpc.max_receive_message_length", config.max_message_bytes + ENVELOPE_BYTES),
        ("grpc.max_send_message_length", -1),  # answers are cut to size by the servicer
        ("grpc.max_concurrent_streams", config.max_streams),
        # What a call may send ahead while it waits stays at 64 KB. The window that gRPC would measure grows
        # to megabytes: 24 blocks of 8 MiB that waited for a thread took 97 MiB of memory, and take 2
        # (tests/system/test_admission.py, two cores).
        ("grpc.http2.bdp_probe", 0),
        ("grpc.max_metadata_size", config.max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", config.max_metadata_bytes),
        ("grpc.max_allowed_incoming_connections", config.max_connections),
        ("grpc.server_handshake_timeout_ms", 10_000),
        ("grpc.so_reuseport", 0),  # a second server on the same port must fail, not share it
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ]
    return grpc.server(
        gate.refusals,  # for methods that nobody has; all others bring the threads of their lane
        interceptors=list(interceptors),
        options=options,
        maximum_concurrent_rpcs=gate.max_calls,
    )
