"""What begins a call on the socket of the local path."""

from memory_service.v1 import memory_pb2 as pb


def local_call(session: str, authorization: str) -> bytes:
    """The session of the local path that calls, and what metadata would carry."""
    return pb.LocalCall(local_session=session, authorization=authorization).SerializeToString()


def read_local_call(data: bytes) -> tuple[str, str]:
    """Session and authorization. Raises DecodeError."""
    call = pb.LocalCall.FromString(data)
    return call.local_session, call.authorization
