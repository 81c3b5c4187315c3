"""A call that has ended is freed at once, with its messages: it does not wait for the garbage collector."""

import gc
import time
from pathlib import Path

from samples import KEY, SPEC, block, handle, query

from memory_service.client import MemoryClient
from memory_service.config import ServiceConfig
from memory_service.memory import Memory
from memory_service.server import Server


def calls(memory: Memory, first: int) -> None:
    for number in range(first, first + 10):
        memory.advance(KEY, block(3 * number), query(3, like=number))
        memory.fetch([handle(memory, 3 * number)])


def test_calls_leave_no_garbage(tmp_path: Path) -> None:
    server = Server(ServiceConfig(data_dir=tmp_path / "data", address=f"unix:{tmp_path}/socket"))
    server.start()
    try:
        with MemoryClient(server.address, cache_bytes=0) as memory:
            memory.create_video(KEY, SPEC)
            calls(memory, 0)
            gc.collect()
            gc.disable()
            gc.set_debug(gc.DEBUG_SAVEALL)
            calls(memory, 10)
            time.sleep(0.2)  # the last calls end in threads of their own
            gc.collect()
            kinds = {type(one).__module__ for one in gc.garbage}
            assert not {kind for kind in kinds if kind.startswith(("memory_service.", "grpc"))}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
        server.stop()
