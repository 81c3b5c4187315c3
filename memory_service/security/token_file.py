"""The file of tokens: read by the server, changed by `create_token` and `revoke_token`.

    {"tokens": [{"id": "trainer", "sha256": "...", "rights": {"pool-a": ["read", "write"]},
                 "expires": "2027-01-31T00:00:00+00:00"}]}

`expires` may be left out. Whoever reads the file learns no token, whoever writes it can make one: it must be
nobody's but the owner's to write and never everybody's to read.
"""

import fcntl
import json
import os
import secrets
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from memory_service.boundary.validate import check_id
from memory_service.errors import AlreadyExists, InvalidArgument, NotFound, ServiceError, Unavailable
from memory_service.security.tokens import (
    EVERY_POOL,
    PREFIX,
    SECRET_BYTES,
    Right,
    Token,
    Tokens,
    digest,
    expiry,
)

_MAX_BYTES = 4 << 20
_FIELDS = {"id", "sha256", "rights", "expires"}


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token that was made, with the only copy of its secret."""

    entry: Token
    text: str
    """What a client sends: `rvr_<id>_<secret>`. It cannot be had again."""


def read_tokens(path: Path) -> Tokens:
    """All tokens of a file.

    Raises InvalidArgument where the content or the mode of the file cannot be right, Unavailable where it
    cannot be read.
    """
    return Tokens(list_tokens(path))


def list_tokens(path: Path) -> Sequence[Token]:
    """The entries of a file in its order. Raises like `read_tokens`."""
    try:
        # Without O_NONBLOCK a pipe in its place would be waited for.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            check_private(os.fstat(file.fileno()), path, "tokens_file")
            data = file.read(_MAX_BYTES + 1)
    except OSError as exc:
        raise Unavailable(f"the tokens cannot be read: {exc}", field="tokens_file") from exc
    if len(data) > _MAX_BYTES:
        raise _malformed(f"is larger than {_MAX_BYTES} bytes")
    try:
        content = json.loads(data)
    except ValueError as exc:
        raise _malformed(f"is not JSON: {exc}") from exc
    entries = content.get("tokens") if isinstance(content, dict) and set(content) == {"tokens"} else None
    if not isinstance(entries, list):
        raise _malformed('has no list "tokens", or something beside it')
    tokens = [_unpacked(entry, f"tokens[{i}]") for i, entry in enumerate(entries)]
    Tokens(tokens)
    return tokens


def create_token(
    path: Path, token_id: str, rights: Mapping[str, Sequence[str]], *, expires: str | None = None
) -> NewToken:
    """Add a token to the file, which is created where it is missing.

    `rights` is by pool, or "*"; `expires` in ISO 8601 with a zone. A running server takes it after SIGHUP.
    Raises AlreadyExists, InvalidArgument, Unavailable.
    """
    secret = secrets.token_hex(SECRET_BYTES)
    until = None if expires is None else expiry(expires)
    entry = Token(token_id, digest(secret), _rights(rights, "rights"), until)
    with _changing(path) as tokens:
        if any(token.id == token_id for token in tokens):
            raise AlreadyExists(f"there is a token {token_id}", field="id", expected="a new id")
        tokens.append(entry)
    return NewToken(entry, f"{PREFIX}_{token_id}_{secret}")


def revoke_token(path: Path, token_id: str) -> Token:
    """Take a token out of the file; a running server refuses it after SIGHUP.

    Raises NotFound, InvalidArgument, Unavailable.
    """
    with _changing(path) as tokens:
        for i, token in enumerate(tokens):
            if token.id == token_id:
                return tokens.pop(i)
        raise NotFound(f"there is no token {token_id}", field="id", expected="the id of a token")


def check_private(found: os.stat_result, path: Path, field: str) -> None:
    """Raises InvalidArgument unless a file is a regular one, ours or root's, and closed to others."""
    if not stat.S_ISREG(found.st_mode):
        raise InvalidArgument(f"{path} is no regular file", field=field, expected="a regular file")
    if found.st_uid not in (0, os.geteuid()):
        raise InvalidArgument(
            f"{path} belongs to user {found.st_uid}",
            field=field,
            expected="a file of the user that runs the service, or root's",
        )
    if found.st_mode & 0o027:
        raise InvalidArgument(
            f"{path} has mode {stat.S_IMODE(found.st_mode):04o}",
            field=field,
            expected="0600 or 0640: nothing for others, no writing for the group",
        )


@contextmanager
def _changing(path: Path) -> Iterator[list[Token]]:
    """The entries, to be changed; written in one step when the `with` ends without an error."""
    try:
        path = path.resolve()  # whichever links lead to the file, all who change it lock the same directory
        lock = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (OSError, RuntimeError) as exc:  # RuntimeError: links that lead to themselves
        raise Unavailable(f"{path.parent} cannot be used: {exc}", field="tokens_file") from exc
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        tokens = list(list_tokens(path)) if path.exists() else []
        yield tokens
        _write(path, {"tokens": [_packed(token) for token in tokens]})
        os.fsync(lock)
    except OSError as exc:
        raise Unavailable(f"the tokens cannot be written: {exc}", field="tokens_file") from exc
    finally:
        os.close(lock)


def _write(path: Path, content: Mapping[str, Any]) -> None:
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
            if path.exists():
                there = path.stat()
                os.fchown(file.fileno(), there.st_uid, there.st_gid)
                os.fchmod(file.fileno(), stat.S_IMODE(there.st_mode))
            json.dump(content, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _packed(token: Token) -> dict[str, Any]:
    packed: dict[str, Any] = {
        "id": token.id,
        "sha256": token.sha256,
        "rights": {pool: sorted(map(str, rights)) for pool, rights in token.rights.items()},
    }
    if token.expires_unix_s is not None:
        packed["expires"] = datetime.fromtimestamp(token.expires_unix_s, UTC).isoformat()
    return packed


def _unpacked(entry: Any, where: str) -> Token:
    try:
        if not isinstance(entry, dict) or not _FIELDS - {"expires"} <= set(entry) <= _FIELDS:
            raise InvalidArgument("", expected=f"an object of {', '.join(sorted(_FIELDS))}")
        for name in ("id", "sha256", "expires"):
            if not isinstance(entry.get(name, ""), str):
                raise InvalidArgument(f"{name} is no text", field=name, expected="text")
        until = expiry(entry["expires"]) if "expires" in entry else None
        return Token(entry["id"], entry["sha256"], _rights(entry["rights"], "rights"), until)
    except InvalidArgument as exc:
        raise _malformed(f"has a bad entry at {where}: {exc.message}", expected=exc.expected) from exc


def _rights(rights: Any, field: str) -> dict[str, frozenset[Right]]:
    if not isinstance(rights, Mapping) or not rights:
        raise InvalidArgument("no rights", field=field, expected='a pool or "*", and rights in it')
    checked: dict[str, frozenset[Right]] = {}
    for pool, names in rights.items():
        if pool != EVERY_POOL:
            check_id(pool, field)
        if not isinstance(names, list | tuple) or not names or any(name not in list(Right) for name in names):
            raise InvalidArgument(
                f"rights in {pool} are {names!r}", field=field, expected="some of read, write, admin"
            )
        checked[pool] = frozenset(map(Right, names))
    return checked


def _malformed(what: str, expected: str = "a file as `reverie-memory tokens` writes it") -> ServiceError:
    return InvalidArgument(f"the file of tokens {what}", field="tokens_file", expected=expected)
