"""Bearer tokens: who calls, and with which rights in which pools.

A token reads `rvr_<id>_<secret>`. The secret is 256 random bits, and the file keeps its SHA-256. A slow hash
(scrypt, argon2) makes guessing dear where secrets are chosen by people; one of 2^256 cannot be guessed at any
speed, and a slow hash would cost its time at every call. The id finds the entry, so that one comparison in
constant time decides; it is no secret and is what logs name.
"""

import hashlib
import hmac
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from memory_service.errors import InvalidArgument, Unauthenticated

PREFIX = "rvr"
EVERY_POOL = "*"
SECRET_BYTES = 32

TOKEN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,63}")
"""No underscore: it ends the id in a token."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_NO_DIGEST = "0" * 64
"""Compared with where an id is unknown, so that the time taken does not tell which ids there are."""


class Right(StrEnum):
    """What a token may do in a pool. None of them includes another."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Token:
    """One entry of the file of tokens. Raises InvalidArgument naming the field that cannot be right."""

    id: str
    sha256: str
    """Of the secret's text, 64 hexadecimal digits."""
    rights: Mapping[str, frozenset[Right]]
    """By the name of a pool; "*" holds for every pool, beside what the pool's own entry gives."""
    expires_unix_s: float | None = None

    def __post_init__(self) -> None:
        if TOKEN_ID.fullmatch(self.id) is None:
            raise InvalidArgument(
                f"{self.id!r} is no token id", field="id", expected="1 to 64 of [A-Za-z0-9.-]"
            )
        if _DIGEST.fullmatch(self.sha256) is None:
            raise InvalidArgument(
                f"token {self.id}: the hash is no SHA-256",
                field="sha256",
                expected="64 of [0-9a-f]",
            )

    @property
    def expired(self) -> bool:
        """By the wall clock, as an expiry is a date."""
        return self.expires_unix_s is not None and time.time() >= self.expires_unix_s

    def allows(self, right: Right, pool: str) -> bool:
        """Whether the token gives `right` in `pool`; `EVERY_POOL` asks for all pools at once."""
        return right in self.rights.get(EVERY_POOL, ()) or right in self.rights.get(pool, ())

    def sees(self, pool: str) -> bool:
        """Whether it gives any right in `pool`."""
        return bool(self.rights.get(EVERY_POOL) or self.rights.get(pool))


class Tokens:
    """A set of tokens. Immutable: another set takes its place when the file has changed."""

    def __init__(self, tokens: Iterable[Token]) -> None:
        """Raises InvalidArgument when two tokens have the same id."""
        self._by_id: dict[str, Token] = {}
        for token in tokens:
            if token.id in self._by_id:
                raise InvalidArgument(f"two tokens have the id {token.id}", field="id", expected="one each")
            self._by_id[token.id] = token

    def __len__(self) -> int:
        return len(self._by_id)

    def authenticate(self, authorization: str | None) -> Token:
        """The token of an `authorization` header. Raises Unauthenticated, the same for every reason.

        What was wrong is not said, except to those whose own secret has expired.
        """
        if authorization is None:
            raise _unauthenticated("the call carries no token")
        token_id, secret = _split(authorization)
        token = self._by_id.get(token_id)
        known = _NO_DIGEST if token is None else token.sha256
        if not hmac.compare_digest(digest(secret), known) or token is None:
            raise _unauthenticated("the token is not known here")
        if token.expired:
            raise _unauthenticated(f"token {token.id} has expired")
        return token

    def holds(self, token: Token) -> bool:
        """Whether a token that was authenticated earlier would be now, with the same rights."""
        return self._by_id.get(token.id) == token and not token.expired


def digest(secret: str) -> str:
    """What the file keeps of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def expiry(text: str) -> float:
    """Seconds since the Unix epoch of an ISO 8601 time with its zone. Raises InvalidArgument."""
    expected = "ISO 8601 with a zone: 2027-01-31T00:00:00Z"
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as exc:
        raise InvalidArgument(f"{text!r} is no time", field="expires", expected=expected) from exc
    if parsed.tzinfo is None:
        raise InvalidArgument(f"{text!r} has no zone", field="expires", expected=expected)
    return parsed.timestamp()


def _split(authorization: str) -> tuple[str, str]:
    """Id and secret of a header; two empty texts, which no token has, for one that is malformed."""
    scheme, _, text = authorization.partition(" ")
    prefix, _, rest = text.partition("_")
    token_id, _, secret = rest.partition("_")
    return (token_id, secret) if scheme.lower() == "bearer" and prefix == PREFIX else ("", "")


def _unauthenticated(message: str) -> Unauthenticated:
    return Unauthenticated(
        message, field="authorization", expected='metadata "authorization: Bearer TOKEN" with a valid token'
    )
