"""Who a client is and whom it believes, as the environment says it: the same variables for every program."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from memory_service.errors import InvalidArgument
from memory_service.security.tls import ClientTLS


@dataclass(frozen=True, slots=True)
class Credentials:
    """A token and TLS, for `MemoryClient`; None is none."""

    token: str | None = None
    tls: ClientTLS | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """By REVERIE_MEMORY_TOKEN or _TOKEN_FILE, and _CLIENT_CA, _CLIENT_CERT and _CLIENT_KEY.

        Raises InvalidArgument for a file without a token and for a certificate without its key.
        """
        ca, cert, key = (
            _file(environment, f"REVERIE_MEMORY_CLIENT_{name}") for name in ("CA", "CERT", "KEY")
        )
        file = _file(environment, "REVERIE_MEMORY_TOKEN_FILE")
        token = read_token(file) if file else environment.get("REVERIE_MEMORY_TOKEN") or None
        return cls(token, ClientTLS(ca=ca, cert=cert, key=key) if ca or cert or key else None)


def read_token(path: Path) -> str:
    """The token that a file holds. Raises InvalidArgument where it has none."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidArgument(
            f"token file {path}: {exc}", field="token_file", expected="a file that can be read"
        ) from exc
    if len(text.split()) != 1:
        raise InvalidArgument(f"token file {path} holds no token", field="token_file", expected="one token")
    return text


def _file(environment: Mapping[str, str], variable: str) -> Path | None:
    said = environment.get(variable)
    return Path(said) if said else None
