"""Who a caller is."""

import pytest

from memory_service.serving.admission import host_of


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("ipv4:127.0.0.1:43566", "ipv4:127.0.0.1"),
        ("ipv6:%5B::1%5D:58098", "ipv6:%5B::1%5D"),
        ("ipv6:[fe80::1%25eth0]:1", "ipv6:[fe80::1%25eth0]"),
        ("unix:", "unix"),
        ("unix:/run/a.sock", "unix"),
        ("unix:@abstract:name", "unix"),
    ],
)
def test_a_caller_without_a_token_is_its_host(peer: str, host: str) -> None:
    assert host_of(peer) == host
