"""Forks: replaying the reels that a video shares, and finding where a fork of it leaves."""

from collections.abc import Sequence

from memory_service.errors import DataLoss
from memory_service.histories.frames import Frames, KeptBlock
from memory_service.histories.outline import Outline
from memory_service.histories.stored_frame import Pages
from memory_service.records import Base, Lineage, unpack_block
from memory_service.reel import Kind
from memory_service.store.base_reel import BaseReel
from memory_service.store.bases import Branch
from memory_service.store.reel_file import ReelFile
from memory_service.types import Parent


def share(frames: Frames, bases: Sequence[BaseReel], epoch: int) -> None:
    """Give a fork the frames of its bases, under its own first epoch.

    Raises DataLoss, naming a base that does not have the frames that were shared.
    """
    for base in bases:
        for record in base.records:
            if record.prefix.kind == Kind.BLOCK:
                frames.add(unpack_block(record), base, epoch)
            elif record.prefix.kind == Kind.TRUNCATE:
                frames.truncate(record.header["length"], base, record.end)
        if frames.length != base.base.length:
            raise DataLoss(
                f"base {base.path} of a fork ends with {frames.length} frames",
                expected=f"{base.base.length} frames",
                details={"path": str(base.path)},
            )


def branch_of(
    outline: Outline, length: int, last: KeptBlock | None, bases: Sequence[BaseReel], reel: ReelFile
) -> Branch:
    """The branch at `length` frames, of which `last` is the last block; None for no frames.

    The fork continues the reels up to the one that `last` ends in; those behind it have nothing of it.
    """
    parent = Parent(outline.created.key, outline.epoch, length)
    if last is None:
        return Branch(Lineage(parent, ()), ())
    chain: list[tuple[Pages, int]] = [(base, base.base.epoch) for base in bases]
    chain.append((reel, outline.created.state.epoch))
    number, epoch = next((n, epoch) for n, (pages, epoch) in enumerate(chain) if pages is last.ends_in)
    sources = [(base.path, base.inode) for base in bases] + [(reel.path, reel.inode)]
    shared = (*(base.base for base in bases[:number]), Base(epoch, last.upto, length))
    return Branch(Lineage(parent, shared), tuple(sources[: number + 1]))
