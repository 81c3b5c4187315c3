"""The command that reads every byte of a data directory and says what is wrong with it."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from memory_service.cli.asking import add_json
from memory_service.cli.command import Command, Environment
from memory_service.cli.output import Answer, Row, write
from memory_service.cli.quantities import human_bytes
from memory_service.errors import DataLoss

if TYPE_CHECKING:
    from memory_service.store.findings import Finding
    from memory_service.verify import Position, Report


def _verify(options: argparse.Namespace) -> Answer:
    from memory_service.verify import verify  # what reads reels: no other command needs it

    report = verify(options.data, _show_position) if sys.stderr.isatty() else verify(options.data)
    write(_answer(report), as_json=options.json)
    if not report.clean:
        raise DataLoss(
            "not everything that was durable is there",
            expected='see "damaged reel" in docs/operations.md',
        )
    return None


def _answer(report: "Report") -> Row:
    return {
        "clean": report.clean,
        "videos": report.videos,
        "frames": report.frames,
        "bytes": report.bytes,
        "findings": list(map(_row, report.findings)),
    }


def _row(finding: "Finding") -> Row:
    frames = ",".join(f"[{span.start},{span.stop})" for span in finding.frames)
    return {
        "file": str(finding.path),
        "kind": str(finding.kind),
        "part": str(finding.part),
        "offset": finding.offset,
        "record": finding.record,
        "frames": f"{frames}+" if finding.open_end else frames,
        "intact": finding.intact,
        "message": finding.message,
    }


def _show_position(position: "Position") -> None:
    print(
        f"\r\x1b[K{position.videos} videos, {human_bytes(position.bytes)}",
        end="",
        file=sys.stderr,
        flush=True,
    )


def _data(parser: argparse.ArgumentParser, environment: Environment) -> None:  # noqa: ARG001
    parser.add_argument("data", type=Path, metavar="DIR", help="a data directory; a server may be using it")
    add_json(parser)


COMMANDS = (
    Command(
        name="verify",
        help="read every byte of a data directory and say what is wrong; changes nothing",
        example="reverie-memory verify ./memory --json",
        arguments=_data,
        run=_verify,
    ),
)
