"""Commands that move videos as files: a video is one reel, and so is its copy."""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from memory_service.cli.asking import KEY_METAVAR, asking, asks, parse_key
from memory_service.cli.command import Command
from memory_service.cli.output import Answer
from memory_service.cli.videos import video_row
from memory_service.errors import AlreadyExists, InvalidArgument, ServiceError, Unavailable
from memory_service.memory import Memory

_CHUNK_BYTES = 1 << 20
_STDIO = "-"


def _export(memory: Memory, options: argparse.Namespace) -> Answer:
    key = parse_key(options.key)
    if str(options.file) == _STDIO:
        for chunk in memory.export_video(key):
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
        return None
    return {
        "video": options.key,
        "file": str(options.file),
        "bytes": _written(options.file, memory.export_video(key)),
    }


def _import(memory: Memory, options: argparse.Namespace) -> Answer:
    key = parse_key(options.key)
    return video_row(memory.import_video(key, _chunks(options.file)))


def _written(path: Path, chunks: Iterator[bytes]) -> int:
    """Write a new file, whole and durable or not at all. Returns its size."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with aside.open("xb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        os.link(aside, path)
    except FileExistsError as exc:
        raise AlreadyExists(f"{path} is there", field="file", expected="a new file") from exc
    except OSError as exc:
        raise _file_error(path, exc) from exc
    finally:
        aside.unlink(missing_ok=True)
    return size


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        file = sys.stdin.buffer if str(path) == _STDIO else path.open("rb")
        with file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
    except OSError as exc:
        raise _file_error(path, exc) from exc


def _file_error(path: Path, exc: OSError) -> ServiceError:
    if isinstance(exc, FileNotFoundError | NotADirectoryError | IsADirectoryError | PermissionError):
        return InvalidArgument(f"{path}: {exc.strerror}", field="file", expected="a file that can be used")
    return Unavailable(f"{path}: {exc.strerror or exc}", field="file")


def _key_and_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("key", metavar=KEY_METAVAR)
    parser.add_argument("file", type=Path, metavar="FILE", help="or - for a pipe")


COMMANDS = (
    Command(
        name="export",
        help="write a video to a file: one self-contained reel",
        example="reverie-memory export films/take-1 take-1.reel",
        arguments=asking(_key_and_file),
        run=asks(_export),
    ),
    Command(
        name="import",
        help="make a new video from an exported file, once all of it is verified",
        example="reverie-memory import films/take-1 take-1.reel",
        arguments=asking(_key_and_file),
        run=asks(_import),
    ),
)
