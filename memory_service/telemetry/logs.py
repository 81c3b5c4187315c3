"""Logs as text or JSON, one line per event, on standard error.

The service logs templates such as "commit failed path=%s reason=%s": words that name the event, then keys.
JSON takes them apart again with the types of the arguments, so that no collector has to parse a sentence.
"""

import json
import logging
import re
import sys
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

_TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"
_KEY = re.compile(r"(\w+)=(%[-+ #0-9.]*[a-zA-Z])")
_CONVERSION = re.compile(r"%[-+ #0-9.]*[a-zA-Z]")


def configure(level: str, form: str) -> None:
    """Log to standard error from `level` on, as "text" or "json"."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(level=level, handlers=[handler], force=True)


class JsonFormatter(logging.Formatter):
    """time, level, logger, event and the event's keys; a traceback as one string under "exception"."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname,
            "logger": record.name,
            "thread": record.threadName,
            **_event(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _event(record: logging.LogRecord) -> dict[str, Any]:
    template = str(record.msg)
    args = record.args if isinstance(record.args, tuple) else ()
    name, keys = _parsed(template)
    if not any(keys) or len(keys) != len(args):
        return {"event": record.getMessage()}
    pairs = dict(zip(keys, map(_value, args), strict=True))
    rest = " ".join(str(text).strip() for key, text in zip(keys, args, strict=True) if not key and text)
    pairs.pop("", None)
    return {"event": name or record.name.rpartition(".")[2], **pairs, **({"detail": rest} if rest else {})}


@lru_cache(maxsize=256)
def _parsed(template: str) -> tuple[str, tuple[str, ...]]:
    """The words of a template, and the key of each of its conversions ("" for one without)."""
    named = {found.start(2): found[1] for found in _KEY.finditer(template)}
    keys = tuple(named.get(found.start(), "") for found in _CONVERSION.finditer(template))
    words = _CONVERSION.sub("", _KEY.sub("", template))
    return " ".join(words.split()), keys


def _value(argument: Any) -> Any:
    if isinstance(argument, bool | int | str) or argument is None:
        return argument
    if isinstance(argument, float):
        return round(argument, 6)
    return str(argument)
