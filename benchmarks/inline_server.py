"""The server of `peers.inline_grpc`: what one writes first. It keeps everything in memory, and only there."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from benchmarks.workload import EMBEDDING_DIM

EMPTY = "/reverie.benchmarks.Empty/Call"
"""The method of the empty RPC."""

UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class _Video:
    def __init__(self) -> None:
        self.rows = np.empty((1024, EMBEDDING_DIM), np.float32)
        self.payloads: list[bytes] = []
        self.lock = threading.Lock()


class _Servicer:
    """The three RPCs; method names are gRPC's."""

    def __init__(self, messages: Any) -> None:
        self._messages = messages
        self._videos: dict[str, _Video] = {}

    def Append(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802, ARG002
        video = self._videos.setdefault(request.video, _Video())
        with video.lock:
            if request.start != len(video.payloads):
                raise ValueError(f"expected frame {len(video.payloads)}")
            rows = np.frombuffer(request.embeddings, np.float32).reshape(-1, EMBEDDING_DIM)
            stop = request.start + len(rows)
            if stop > len(video.rows):
                video.rows = np.concatenate([video.rows, np.empty_like(video.rows)])
            video.rows[request.start : stop] = rows
            video.payloads.extend(request.payloads)
        return self._messages.AppendResponse()

    def Search(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802, ARG002
        video = self._videos[request.video]
        scores = video.rows[request.start : request.stop] @ np.frombuffer(request.query, np.float32)
        best = np.argpartition(-scores, request.k)[: request.k]
        best = best[np.argsort(-scores[best], kind="stable")] + request.start
        return self._messages.SearchResponse(frames=best.tolist())

    def Fetch(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802, ARG002
        payloads = self._videos[request.video].payloads
        return self._messages.FetchResponse(payloads=[payloads[frame] for frame in request.frames])


class _Empty(grpc.GenericRpcHandler):
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if handler_call_details.method != EMPTY:
            return None
        return grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"")


def compiled() -> tuple[Any, Any]:
    """Messages and stubs of `inline.proto`, compiled when first asked for."""
    sys.path.append(str(Path(__file__).parent))
    try:
        return grpc.protos_and_services("inline.proto")
    finally:
        sys.path.pop()


def main(address: str) -> None:
    """Serve until killed; says where on standard output."""
    messages, stubs = compiled()
    server = grpc.server(ThreadPoolExecutor(32), handlers=[_Empty()], options=UNLIMITED)
    stubs.add_InlineServicer_to_server(_Servicer(messages), server)
    port = server.add_insecure_port(address)
    server.start()
    print("serving", address if address.startswith("unix:") else f"127.0.0.1:{port}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main(sys.argv[1])
