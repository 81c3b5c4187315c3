"""Token and TLS of the environment."""

from pathlib import Path

import pytest

from memory_service.errors import InvalidArgument
from memory_service.remote.credentials import Credentials
from memory_service.security.tls import ClientTLS


def test_an_environment_that_says_nothing_is_nobody() -> None:
    assert Credentials.from_environment({"REVERIE_MEMORY_TOKEN": "", "PATH": "/bin"}) == Credentials()


def test_a_file_goes_before_the_variable(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("rvr_a_b\n")
    said = {"REVERIE_MEMORY_TOKEN": "rvr_x_y", "REVERIE_MEMORY_TOKEN_FILE": str(file)}
    assert Credentials.from_environment(said).token == "rvr_a_b"
    assert Credentials.from_environment({"REVERIE_MEMORY_TOKEN": "rvr_x_y"}).token == "rvr_x_y"


@pytest.mark.parametrize("content", ["", "two words"])
def test_a_file_without_a_token_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "token"
    file.write_text(content)
    with pytest.raises(InvalidArgument) as caught:
        Credentials.from_environment({"REVERIE_MEMORY_TOKEN_FILE": str(file)})
    assert caught.value.field == "token_file"


def test_certificates() -> None:
    said = {f"REVERIE_MEMORY_CLIENT_{name}": f"/pki/{name}" for name in ("CA", "CERT", "KEY")}
    tls = ClientTLS(ca=Path("/pki/CA"), cert=Path("/pki/CERT"), key=Path("/pki/KEY"))
    assert Credentials.from_environment(said).tls == tls
    del said["REVERIE_MEMORY_CLIENT_KEY"]
    with pytest.raises(InvalidArgument):
        Credentials.from_environment(said)
