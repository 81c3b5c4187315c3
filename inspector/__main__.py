"""reverie-inspect: what a memory holds, and why each block retrieved what it did."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from inspector import connect, tables
from inspector.layout import Layout
from memory_service.errors import ServiceError
from memory_service.memory import Memory
from memory_service.types import Embeddings, Handle, Query, Span, VideoInfo, VideoKey

FETCH_FRAMES = 64
"""Handles per fetch of embeddings: a bounded message, however long the video."""

EXIT_CODES = """exit codes:
  0  done
  1  the memory refused, cannot be reached, or holds nothing to show
  2  the command line is wrong
"""


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    console = Console(soft_wrap=False)
    try:
        memory = (
            connect.directory(options.data) if options.data else connect.service(options.memory, os.environ)
        )
        try:
            options.command(memory, options, console)
        finally:
            memory.close()
    except (ServiceError, OSError, ValueError) as error:
        Console(stderr=True).print(f"reverie-inspect: {error}", style="red", highlight=False, markup=False)
        return 1
    return 0


def videos(memory: Memory, options: argparse.Namespace, console: Console) -> None:
    rows = [tables.video_row(info) for info in memory.list_videos(options.pool)]
    if options.json:
        _write_json(rows, console)
    elif rows:
        console.print(tables.videos_table(rows))
    else:
        console.print(f"no video in pool {options.pool}")


def show(memory: Memory, options: argparse.Namespace, console: Console) -> None:
    info = memory.get_video(options.video)
    video = tables.video_row(info)
    rows = [tables.retrieval_row(retrieval) for retrieval in memory.retrievals(options.video)]
    if options.json:
        _write_json({**video, "retrievals": rows}, console)
        return
    console.print(tables.video_table(video))
    if rows:
        console.print(tables.retrievals_table(rows, Layout.of(info.spec.metadata)))
    else:
        console.print("nothing was retrieved")


def draw_map(memory: Memory, options: argparse.Namespace, console: Console) -> None:
    from inspector import retrieval_map

    info = memory.get_video(options.video)
    layout = Layout.of(info.spec.metadata)
    retrieval_map.draw(memory.retrievals(options.video), layout, title(info), options.out)
    console.print(str(options.out), soft_wrap=True, highlight=False)


def draw_similarity(memory: Memory, options: argparse.Namespace, console: Console) -> None:
    from inspector import similarity

    info = memory.get_video(options.video)
    matrix = similarity.cosines(embeddings(memory, info))
    similarity.draw(matrix, memory.retrievals(options.video), title(info), options.out)
    console.print(str(options.out), soft_wrap=True, highlight=False)


def embeddings(memory: Memory, info: VideoInfo) -> Embeddings:
    """All stored embeddings [n, D] of a video. Raises ValueError where it has no frame."""
    length = info.state.length
    if not length:
        raise ValueError(f"{info.key} has no frame")
    spans = [Span(start, min(start + FETCH_FRAMES, length)) for start in range(0, length, FETCH_FRAMES)]
    return np.stack(
        [frame.embedding for span in spans for frame in memory.fetch(handles(memory, info.key, span))]
    )


def handles(memory: Memory, key: VideoKey, span: Span) -> list[Handle]:
    """The handles of a span of kept frames. A search knows them: each has the epoch that appended it."""
    query = Query(k=len(span), eligible=span, frame=span.start)
    (hits,) = memory.search(key, [query], log=False).hits
    return sorted((hit.handle for hit in hits), key=lambda handle: handle.frame)


def title(info: VideoInfo) -> str:
    name = str(info.key)
    return f"{name}: {info.spec.metadata['prompt']}" if "prompt" in info.spec.metadata else name


def video_key(text: str) -> VideoKey:
    pool, slash, video = text.partition("/")
    if not (slash and pool and video):
        raise argparse.ArgumentTypeError(f"{text!r} names no video; expected POOL/VIDEO")
    return VideoKey(pool, video)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="reverie-inspect",
        description=__doc__,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    where = top.add_mutually_exclusive_group(required=True)
    where.add_argument("--memory", metavar="ADDRESS", help='a running service: "host:port" or "unix:/path"')
    where.add_argument("--data", metavar="DIR", type=Path, help="a data directory, opened read-only")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    listing = commands.add_parser("videos", help="the videos of a pool")
    listing.add_argument("pool", metavar="POOL", nargs="?", default="default", help="default: %(default)s")
    listing.set_defaults(command=videos)
    showing = commands.add_parser("show", help="one video, and what each of its blocks retrieved")
    showing.add_argument("video", metavar="POOL/VIDEO", type=video_key)
    showing.set_defaults(command=show)
    for command in (listing, showing):
        command.add_argument("--json", action="store_true", help="JSON instead of tables")
    for name, draw, text in (
        ("map", draw_map, "a picture: which earlier frames each block attended"),
        ("similarity", draw_similarity, "a picture: cosine of every two stored embeddings"),
    ):
        drawing = commands.add_parser(name, help=text)
        drawing.add_argument("video", metavar="POOL/VIDEO", type=video_key)
        drawing.add_argument("--out", metavar="FILE.png", type=Path, required=True)
        drawing.set_defaults(command=draw)
    return top


def _write_json(value: object, console: Console) -> None:
    console.file.write(json.dumps(value, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
