"""When the memory calls fdatasync: what an acknowledged block survives."""

from enum import StrEnum

from memory_service.errors import InvalidArgument


class Durability(StrEnum):
    """What an answer to a write promises; each level promises what the ones below it do.

    At every level a block that was acknowledged is in the reel's file: it survives a crash or kill -9 of the
    serving process. The levels differ in what a loss of power, or a crash of the machine, may take. Creating
    and dropping a video are durable when they are answered, at every level, and so is a write that asks for
    it by `sync`. `VideoState.durable` never counts a frame that is not on stable storage.
    """

    SYNC = "sync"
    """fdatasync before each answer: a loss of power takes nothing that was acknowledged."""

    GROUP = "group"
    """One fdatasync per reel and commit interval, off the path of the answer: a loss of power takes at most
    what was acknowledged within the last interval and the commit that was running, always the newest blocks
    of a video and never one between two others. `MemoryClient` holds these blocks and sends them again."""

    NONE = "none"
    """fdatasync only when a video is closed, when it is opened after a crash, or when `sync` asks for it: a
    loss of power takes any number of the newest blocks since. The rest is whole, in order and verified."""


def durability_level(name: str) -> Durability:
    """The level of that name. Raises InvalidArgument."""
    try:
        return Durability(name)
    except ValueError:
        levels = ", ".join(Durability)
        raise InvalidArgument(
            f"durability is {name!r}", field="durability", expected=f"one of {levels}"
        ) from None
