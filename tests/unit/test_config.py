"""What a server refuses to be configured with."""

import math
from pathlib import Path
from typing import Any

import pytest

from memory_service.config import ServiceConfig, is_loopback
from memory_service.errors import InvalidArgument

DATA = Path("data")
SECONDS = ("commit_interval_s", "pool_ttl_s", "idle_s", "stream_idle_s", "drain_s")


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:0", "127.9.9.9:65535", "localhost:50051", "[::1]:50051", "unix:/run/x.sock", "unix:relative"],
)
def test_addresses_that_stay_on_the_machine(address: str) -> None:
    assert ServiceConfig(data_dir=DATA, address=address).address == address


FAR = ["0.0.0.0:1", "[::]:1", "192.168.1.1:1", "example.org:1", "localhost.evil.org:1"]
TLS = {"tls_cert": Path("cert"), "tls_key": Path("key")}
TOKENS = {"tokens_file": Path("tokens")}
CLIENTS = {"tls_client_ca": Path("ca")}


@pytest.mark.parametrize("address", FAR)
@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({}, "address"),
        (TOKENS, "address"),
        ({"tls_without_tokens": True}, "address"),
        (TLS, "tokens_file"),
        (TLS | CLIENTS, "tokens_file"),
        (TLS | TOKENS, None),
        (TLS | CLIENTS | TOKENS, None),
        (TLS | {"tls_without_tokens": True}, None),
        ({"insecure_any_address": True}, None),
        (TOKENS | {"insecure_any_address": True}, None),
    ],
)
def test_addresses_that_others_can_reach_need_tls_and_tokens_or_insistence(
    address: str, options: dict[str, Any], field: str | None
) -> None:
    if field is None:
        assert ServiceConfig(data_dir=DATA, address=address, **options).address == address
        return
    with pytest.raises(InvalidArgument) as caught:
        ServiceConfig(data_dir=DATA, address=address, **options)
    assert caught.value.field == field
    assert (
        "--tls-without-tokens" in caught.value.expected or "--insecure-any-address" in caught.value.expected
    )


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"tls_cert": Path("cert")}, "tls_key"),
        ({"tls_key": Path("key")}, "tls_cert"),
        (CLIENTS, "tls_cert"),
        ({"address": "unix:/run/x.sock", **TLS}, "tls_cert"),
        ({"address": "127.0.0.1:1", "socket_group": "users"}, "socket_group"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        ServiceConfig(data_dir=DATA, **options)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "address",
    [
        "",
        ":",
        "50051",
        "127.0.0.1",
        ":50051",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "unix:",
        "unix:/" + "x" * 107,
    ],
)
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        ServiceConfig(data_dir=DATA, address=address, insecure_any_address=True)
    assert caught.value.field == "address"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_message_bytes", 1000),
        ("max_hot_videos", 0),
        ("max_index_bytes", -1),
        ("max_bytes", -1),
        ("max_videos", -1),
        ("max_pools", -1),
        ("pool_max_bytes", -1),
        ("pool_max_videos", -1),
        ("pool_ttl_s", -0.5),
        ("num_threads", 0),
        ("max_waiting", -1),
        ("max_append_streams", 0),
        ("max_inflight_bytes", 17 << 20),
        ("idle_s", 0.0),
        ("max_streams", -1),
        ("max_metadata_bytes", 0),
        ("commit_interval_s", 0.0),
        ("drain_s", -1.0),
        *((name, value) for name in SECONDS for value in (math.inf, math.nan, 1e300)),
    ],
)
def test_numbers_out_of_range(field: str, value: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        ServiceConfig(data_dir=DATA, **{field: value})
    assert caught.value.field == field


def test_a_name_is_not_a_loopback_address() -> None:
    assert is_loopback("::1")
    assert not is_loopback("localhost4")
    assert not is_loopback("")
