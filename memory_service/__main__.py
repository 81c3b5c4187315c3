"""The command `reverie-memory`: run a memory, or ask one.

Exit codes: 0 done; 1 an error of the service; 2 wrong usage or a request that cannot be right; 3 not found;
4 the data directory or the address is another process's; 5 the memory was not reached or did not answer.
"""

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from memory_service import commands, errors
from memory_service.client import MemoryClient
from memory_service.config import ServiceConfig
from memory_service.durability import Durability

EXIT_CODES: dict[type[errors.ServiceError], int] = {
    errors.InvalidArgument: 2,
    errors.NotFound: 3,
    errors.Busy: 4,
    errors.Unavailable: 5,
    errors.DeadlineExceeded: 5,
}
"""Every other error is 1."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; `argv` as in `sys.argv[1:]`. Returns the exit code."""
    options = vars(_parser(os.environ).parse_args(argv))
    logging.basicConfig(
        level=options.pop("log_level"),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    command = options.pop("command")
    try:
        _serve(**options) if command == "serve" else _ask(command, **options)
    except errors.ServiceError as error:
        print(f"reverie-memory: {error}", file=sys.stderr)
        return EXIT_CODES.get(type(error), 1)
    return 0


def _serve(data: Path, **options: Any) -> None:
    from memory_service.server import serve  # the engine: no other command needs it, nor what it needs

    serve(ServiceConfig(data_dir=data, **options))


def _ask(command: str, memory: str, timeout: float, json: bool, **arguments: Any) -> None:
    if "key" in arguments:
        arguments["key"] = commands.parse_key(arguments["key"])
    arguments.pop("yes", None)
    with MemoryClient(memory, timeout_s=timeout) as client:
        answer = getattr(commands, command)(client, **arguments)
    print(commands.as_json(answer) if json else commands.as_text(answer))


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="reverie-memory",
        description="A pooled latent memory for video generators: run one, or ask one.",
        epilog="REVERIE_MEMORY_DATA, _ADDRESS, _INDEX, _DURABILITY and _LOG_LEVEL give defaults. "
        "Exit codes: 0 done, 1 error, 2 bad request, 3 not found, 4 directory or address in use, "
        "5 not reached.",
    )
    level = environment.get("REVERIE_MEMORY_LOG_LEVEL", "INFO")
    parser.add_argument("--log-level", default=level, choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    address = environment.get("REVERIE_MEMORY_ADDRESS", ServiceConfig.address)
    _add_serve(subparsers, environment, address)
    _add_questions(subparsers, address)
    return parser


def _add_serve(subparsers: Any, environment: Mapping[str, str], address: str) -> None:
    serve = subparsers.add_parser("serve", help="run a memory until SIGTERM or SIGINT")
    data = environment.get("REVERIE_MEMORY_DATA")
    serve.add_argument("--data", type=Path, default=data, required=data is None, help="its directory")
    serve.add_argument("--address", default=address, help="host:port or unix:/path (default: %(default)s)")
    index = environment.get("REVERIE_MEMORY_INDEX", ServiceConfig.index)
    serve.add_argument("--index", default=index, help="name of the index plug-in (default: %(default)s)")
    serve.add_argument(
        "--durability",
        default=environment.get("REVERIE_MEMORY_DURABILITY", ServiceConfig.durability),
        choices=[str(level) for level in Durability],
        help="fdatasync before each answer, by group commit, or only on close (default: %(default)s)",
    )
    serve.add_argument(
        "--commit-interval",
        dest="commit_interval_s",
        type=float,
        default=ServiceConfig.commit_interval_s,
        metavar="S",
        help="longest time that a kept frame stays without fdatasync, seconds (default: %(default)s)",
    )
    serve.add_argument(
        "--max-hot-videos",
        type=int,
        default=ServiceConfig.max_hot_videos,
        metavar="N",
        help="videos that stay open when nobody uses them (default: %(default)s)",
    )
    serve.add_argument(
        "--max-message-bytes",
        type=int,
        default=ServiceConfig.max_message_bytes,
        metavar="N",
        help="largest block, and largest message, in bytes (default: %(default)s)",
    )
    serve.add_argument(
        "--insecure-any-address",
        action="store_true",
        help="listen where other machines can connect, without encryption or access control",
    )


def _add_questions(subparsers: Any, address: str) -> None:
    def question(name: str, text: str) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = subparsers.add_parser(name, help=text)
        added.add_argument(
            "--memory", default=address, metavar="ADDRESS", help="whom to ask (default: %(default)s)"
        )
        added.add_argument(
            "--timeout", type=float, default=5.0, metavar="S", help="seconds (default: %(default)s)"
        )
        added.add_argument("--json", action="store_true", help="print JSON")
        return added

    question("info", "version, index and limits")
    question("videos", "the videos of a pool").add_argument("pool")
    show = question("show", "spec, state and last retrievals of a video")
    show.add_argument("key", metavar="POOL/VIDEO")
    show.add_argument(
        "--last", type=int, default=10, metavar="N", help="retrievals shown (default: %(default)s)"
    )
    drop = question("drop", "forget a video and all its frames")
    drop.add_argument("key", metavar="POOL/VIDEO")
    drop.add_argument("--yes", action="store_true", required=True, help="required: there is no way back")


if __name__ == "__main__":
    sys.exit(main())
