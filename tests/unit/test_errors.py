"""Errors become statuses and come back the same; the table lacks none of them."""

import re
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

import memory_service.errors
from memory_service.errors import Internal, OutOfOrder, Overloaded, ServiceError, TooLarge, Unavailable
from memory_service.wire.status import CODES, DOMAIN, from_rpc_error, reason, to_status


class Failed(grpc.RpcError, grpc.Call):
    """A call that ended with a status."""

    def __init__(self, code: grpc.StatusCode, details: str, trailing: object = ()) -> None:
        self._code, self._details, self._trailing = code, details, trailing

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> object:
        return self._trailing

    def initial_metadata(self) -> object:
        return ()

    def is_active(self) -> bool:
        return False

    def time_remaining(self) -> None:
        return None

    def cancel(self) -> None:
        return None

    def add_callback(self, _callback: object) -> bool:
        return False


def sent(error: ServiceError) -> ServiceError:
    """The error as a client sees it."""
    status = to_status(error)
    return from_rpc_error(Failed(status.code, status.details, status.trailing_metadata))


def subclasses(cls: type[ServiceError]) -> Iterator[type[ServiceError]]:
    for sub in cls.__subclasses__():
        yield sub
        yield from subclasses(sub)


def test_every_error_has_a_code_and_a_reason_of_its_own() -> None:
    ours = {cls for cls in subclasses(ServiceError) if cls.__module__ == memory_service.errors.__name__}
    assert set(CODES) == ours
    assert len({reason(cls) for cls in CODES}) == len(CODES)


@pytest.mark.parametrize("cls", CODES, ids=lambda cls: cls.__name__)
def test_every_error_comes_back_the_same(cls: type[ServiceError]) -> None:
    details = {"expected_start": "7", "retry_after_ms": "250"}
    returned = sent(cls("went wrong", field="block.start", expected="7", details=details))
    assert type(returned) is cls
    assert returned.message == "went wrong"
    assert (returned.field, returned.expected) == ("block.start", "7")
    assert returned.details == details


def test_the_tree_in_the_docstring_says_the_same() -> None:
    tree = dict(re.findall(r"[|`]- (\w+) .*?([A-Z_]+)$", memory_service.errors.__doc__ or "", re.MULTILINE))
    assert tree == {cls.__name__: code.name for cls, code in CODES.items()}


def test_the_proto_explains_the_codes_that_requests_can_get() -> None:
    proto = Path(__file__).parents[2] / "protos/memory_service/v1/memory.proto"
    explained = set(re.findall(r"^//   ([A-Z_]+)  +\S", proto.read_text(), re.MULTILINE))
    assert explained <= {code.name for code in CODES.values()}
    assert {"INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE", "ABORTED", "DATA_LOSS"} <= explained


def test_status_carries_an_error_info() -> None:
    status = status_pb2.Status.FromString(
        dict(to_status(OutOfOrder("gap", field="f")).trailing_metadata)["grpc-status-details-bin"]
    )
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.domain, info.reason, dict(info.metadata)) == (DOMAIN, "OUT_OF_ORDER", {"field": "f"})


def test_overloaded_says_when_to_try_again_as_others_do() -> None:
    error = Overloaded("full", details={"retry_after_ms": "1500"})
    status = status_pb2.Status.FromString(dict(to_status(error).trailing_metadata)["grpc-status-details-bin"])
    retry = error_details_pb2.RetryInfo()
    assert status.details[1].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() == 1500


def test_reasons() -> None:
    assert [reason(cls) for cls in (OutOfOrder, TooLarge, Internal)] == [
        "OUT_OF_ORDER",
        "TOO_LARGE",
        "INTERNAL",
    ]


def test_texts_that_no_trailer_can_carry_are_cut() -> None:
    returned = sent(OutOfOrder("\ud800" + "m" * 100_000, field="f" * 100_000, expected="\u2028" * 9))
    assert len(returned.message) < 600
    assert len(returned.field) < 600
    worst = OutOfOrder(
        "\u2028" * 9000, field="\u2028" * 9000, expected="\u2028" * 9000, details={"x": "\u2028" * 9000}
    )
    status = to_status(worst)
    # gRPC sends the message percent-encoded and the details in base64.
    num_bytes = 3 * len(status.details.encode()) + sum(
        len(value) * 4 / 3 for _, value in status.trailing_metadata
    )
    assert num_bytes < 8192 * 0.75


@pytest.mark.parametrize("code", grpc.StatusCode)
def test_every_status_that_is_not_ours_is_some_error(code: grpc.StatusCode) -> None:
    error = from_rpc_error(Failed(code, "said gRPC"))
    assert "said gRPC" in error.message
    assert type(error) in CODES


@pytest.mark.parametrize(
    ("code", "details", "cls"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Received message larger than max (9 vs. 4)", TooLarge),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!", Overloaded),
        (grpc.StatusCode.CANCELLED, "Channel closed!", Unavailable),
        (grpc.StatusCode.UNIMPLEMENTED, "Method not found!", Internal),
    ],
)
def test_statuses_of_grpc_itself(code: grpc.StatusCode, details: str, cls: type[ServiceError]) -> None:
    assert type(from_rpc_error(Failed(code, details))) is cls
