"""Whole videos over a connection, in messages of bounded size."""

import threading
from collections.abc import Iterable, Iterator
from typing import Any

import grpc

from memory_service.chunks import in_chunks
from memory_service.errors import Unavailable
from memory_service.remote.connection import Connection, first_message
from memory_service.types import Buffer
from memory_service.v1 import memory_pb2 as pb
from memory_service.wire.admission import ADMITTED
from memory_service.wire.status import from_rpc_error

MESSAGE_BYTES = 512 << 10
"""Bytes of a reel in one message of an import."""


def receive_reel(connection: Connection, request: pb.ExportVideoRequest) -> Iterator[bytes]:
    """The chunks of an export; the first one has been asked for when this returns. Raises ServiceError."""
    stream, first = connection.open(
        lambda: connection.start(connection.stub.ExportVideo, request), first_message
    )
    return _chunks(stream, first)


def _chunks(stream: Any, first: pb.ExportVideoResponse) -> Iterator[bytes]:
    try:
        yield first.data
        for response in stream:
            yield response.data
    except grpc.RpcError as exc:
        raise from_rpc_error(exc) from exc
    finally:
        stream.cancel()


def send_reel(
    connection: Connection, first: pb.ImportVideoRequest, reel: Iterable[Buffer]
) -> pb.ImportVideoResponse:
    """Import a reel; `reel` is not touched before the server has admitted the call. Raises ServiceError."""
    chunks = iter(reel)
    upload, _ = connection.open(lambda: _Upload(connection, first, chunks), _Upload.admitted)
    response: pb.ImportVideoResponse = upload.answer()
    return response


class _Upload:
    """One call of ImportVideo."""

    def __init__(
        self, connection: Connection, first: pb.ImportVideoRequest, chunks: Iterator[Buffer]
    ) -> None:
        self._first = first
        self._chunks = chunks
        self._go = threading.Event()
        self._stopped = False
        self._failure: BaseException | None = None
        self._call = connection.start(connection.stub.ImportVideo.future, self._requests())
        self._call.add_done_callback(lambda _: self._stop())

    def admitted(self) -> None:
        """Wait until the server has room for it. Raises RpcError where it refuses."""
        if ADMITTED not in self._call.initial_metadata():
            try:
                self._call.result()
            except grpc.FutureCancelledError:
                raise self._call from None
        self._go.set()

    def answer(self) -> pb.ImportVideoResponse:
        """Wait for the end. Raises ServiceError, or what the caller's iterable raised."""
        try:
            response: pb.ImportVideoResponse = self._call.result()
        except grpc.RpcError as exc:
            if self._failure is not None:
                raise self._failure from None
            raise from_rpc_error(exc) from exc
        except grpc.FutureCancelledError:
            raise self._failure or Unavailable("the client was closed") from None
        except BaseException:  # the caller has had enough
            self.cancel()
            raise
        return response

    def cancel(self) -> None:
        """Hang up."""
        self._call.cancel()

    def _stop(self) -> None:
        self._stopped = True
        self._go.set()

    def _requests(self) -> Iterator[pb.ImportVideoRequest]:
        """In gRPC's thread, which would make any error of the caller's iterable one of its own."""
        yield self._first
        self._go.wait()
        if self._stopped:  # refused: the reel is for the next attempt
            return
        try:
            for data in in_chunks(self._chunks, MESSAGE_BYTES):
                if self._stopped:
                    return
                yield pb.ImportVideoRequest(data=data)
        except GeneratorExit:  # the call has ended, and its own status says how
            raise
        except BaseException as exc:
            self._failure = exc
            self._call.cancel()
