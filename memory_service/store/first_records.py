"""The records that a reel begins with: whose it is, and what it continues."""

from pathlib import Path

from memory_service.errors import DataLoss
from memory_service.records import Lineage, pack_fork, pack_video, unpack_video
from memory_service.reel import Body, Kind, encode
from memory_service.store.scan import Scan
from memory_service.types import VideoInfo, VideoKey


def first_records(info: VideoInfo, lineage: Lineage | None) -> bytes:
    """A video record, and for a fork what it continues."""
    headers = [(Kind.VIDEO, pack_video(info))]
    if lineage is not None:
        headers.append((Kind.FORK, pack_fork(lineage)))
    records = b""
    for number, (kind, header) in enumerate(headers):
        _, buffers = encode(kind, header, Body(), sequence=number, epoch=info.state.epoch, durable=0)
        records += b"".join(buffers)
    return records


def check_name(path: Path, key: VideoKey, found: Scan) -> None:
    """Raises DataLoss for the reel of another video."""
    holds = unpack_video(found.records[0]).key
    if holds != key:
        raise DataLoss(
            f"reel {path} holds video {holds}",
            field="key",
            expected="its own video",
            details={"path": str(path)},
        )
