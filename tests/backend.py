"""A server whose calls can be made to fail: the real servicer over a real engine, behind a real gate."""

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from memory_service import servicer
from memory_service.config import ServiceConfig
from memory_service.engine import MemoryEngine
from memory_service.errors import ServiceError
from memory_service.interceptors import RequestInterceptor
from memory_service.limits import Limits
from memory_service.serving.gate import Gate
from memory_service.v1 import memory_pb2 as pb
from memory_service.v1.memory_pb2_grpc import add_MemoryServiceServicer_to_server


class Backend(servicer.Servicer):
    """The real servicer over a real engine; `before` may fail a call, `after` may change its answer."""

    def __init__(self, engine: MemoryEngine) -> None:
        super().__init__(engine, engine.limits)
        self.engine = engine
        self.calls: list[str] = []
        self.before: Callable[[str, grpc.ServicerContext], None] = lambda *_: None
        self.after: Callable[[str, Any, grpc.ServicerContext], Any] = lambda _name, answer, _context: answer

    def AdvanceStream(self, requests: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802
        """To whoever counts, fails or changes calls each request is a call of Advance."""

        def heard() -> Iterator[Any]:
            for request in requests:
                self.calls.append("Advance")
                self.before("Advance", context)
                yield request

        for answer in super().AdvanceStream(heard(), context):
            yield self.after("Advance", answer, context)


def counted(name: str) -> Callable[[Backend, Any, grpc.ServicerContext], Any]:
    method = getattr(servicer.Servicer, name)

    def call(self: Backend, request: Any, context: grpc.ServicerContext) -> Any:
        self.calls.append(name)
        self.before(name, context)
        return self.after(name, method(self, request, context), context)

    return call


for _method in pb.DESCRIPTOR.services_by_name["MemoryService"].methods:
    if _method.name not in vars(Backend):
        setattr(Backend, _method.name, counted(_method.name))


@contextmanager
def serving(data_dir: Path) -> Iterator[tuple[Backend, str]]:
    """A server with messages of at most a megabyte, and its address."""
    engine = MemoryEngine(data_dir, limits=Limits(max_message_bytes=1 << 20), commit_interval_s=0.01)
    backend = Backend(engine)
    gate = Gate(ServiceConfig(data_dir=data_dir), None, lambda: None)
    interceptor = RequestInterceptor("memory_service.v1.MemoryService", gate)
    server = grpc.server(ThreadPoolExecutor(4), interceptors=[interceptor])
    add_MemoryServiceServicer_to_server(backend, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield backend, f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
        gate.close()
        engine.close()


def fail(times: int, error: ServiceError) -> Callable[..., Any]:
    """The first calls end with `error`, the rest go through."""
    left = itertools.count(times, -1)

    def failing(*arguments: Any) -> Any:
        if next(left) > 0:
            raise error
        return arguments[1] if len(arguments) == 3 else None

    return failing
