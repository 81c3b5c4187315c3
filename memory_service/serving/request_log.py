"""One line for each call, when it has ended."""

import logging
from collections.abc import Callable

from memory_service.boundary.validate import is_id
from memory_service.security.tokens import Token

_log = logging.getLogger("memory_service.requests")


def log_request(
    method: str,
    status: str,
    seconds: float,
    *,
    bytes_in: int,
    bytes_out: int,
    peer: Callable[[], str],
    token: Token | None,
    subject: tuple[str, str],
    timeout_s: float | None,
    field: str,
) -> None:
    """Log a call: who called, what about, how it ended. Of a token only the id; of the payload nothing.

    `seconds` is the time in the call's thread, `timeout_s` what its deadline left when it began.
    """
    if not _log.isEnabledFor(logging.INFO):
        return
    pool, video = subject
    _log.info(
        "method=%s status=%s ms=%.2f bytes_in=%d bytes_out=%d peer=%s token=%s pool=%s video=%s left_ms=%s%s",
        method,
        status,
        seconds * 1e3,
        bytes_in,
        bytes_out,
        peer(),
        "-" if token is None else token.id,
        _loggable(pool),
        _loggable(video),
        "-" if timeout_s is None else round(1e3 * (timeout_s - seconds)),
        f" field={field!r}" if field else "",
    )


def log_refusal(method: str, status: str, peer: Callable[[], str]) -> None:
    """Log a call that was refused before it got a thread."""
    if _log.isEnabledFor(logging.INFO):
        _log.info("method=%s status=%s peer=%s", method, status, peer())


def _loggable(name: str) -> str:
    """A name that cannot forge a line: what is none is not repeated."""
    return (name if is_id(name) else "?") if name else "-"
