"""The values that everybody shares."""

from memory_service.types import VideoKey


def test_a_key_says_its_name() -> None:
    assert str(VideoKey("pool", "video.v2")) == "pool/video.v2"
