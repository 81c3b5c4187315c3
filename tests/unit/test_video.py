from fractions import Fraction

import av
import numpy as np
import pytest

from generator.records.video import VideoWriter, magnify, read_frames, watchable_factor


def bars(num_frames: int, height: int = 16, width: int = 24) -> np.ndarray:
    """Frames of one colour each, a green bar on the left of every one."""
    frames = np.zeros((num_frames, height, width, 3), np.uint8)
    frames[:] = np.linspace(40, 220, num_frames, dtype=np.uint8)[:, None, None, None]
    frames[:, :, : width // 3] = (20, 200, 40)
    return frames


def test_frames_come_back_in_number_size_order_and_colour(tmp_path):
    path = tmp_path / "a.mp4"
    frames = bars(7)
    with VideoWriter(path, fps=4, magnification=4) as video:
        for start in range(0, 7, 3):
            video.append(frames[start : start + 3])
    again = np.stack(list(read_frames(path)))
    assert video.num_frames == 7
    assert again.shape == (7, 64, 96, 3)
    np.testing.assert_allclose(again.astype(int), magnify(frames, 4).astype(int), atol=16)
    inner = again[:, 8:-8, 48:-8].astype(int)
    np.testing.assert_allclose(inner.mean(axis=(1, 2, 3)), frames[:, 0, -1, 0], atol=2)


def test_the_file_is_h264_for_every_player_and_keeps_its_pace(tmp_path):
    path = tmp_path / "a.mp4"
    with VideoWriter(path, fps=Fraction(4), magnification=1) as video:
        video.append(bars(8))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == 4
        assert float(stream.duration * stream.time_base) == pytest.approx(2.0)


def test_a_growing_file_can_be_watched(tmp_path):
    path = tmp_path / "a.mp4"
    frames = bars(24)
    with VideoWriter(path, fps=4, magnification=1) as video:
        for stop in range(3, 25, 3):
            video.append(frames[stop - 3 : stop])
            seen = np.stack(list(read_frames(path)))
            assert len(seen) == stop - 1, "the last frame is not complete until the next one begins"
            np.testing.assert_allclose(seen[:, 4:-4, 12:-4], frames[: stop - 1, 4:-4, 12:-4], atol=12)
        watching = path.open("rb")
    with watching, av.open(watching) as whole:
        assert sum(1 for _ in whole.decode(video=0)) == 24, "who is watching is not cut off"
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


def test_a_finished_file_has_its_index_first(tmp_path):
    path = tmp_path / "a.mp4"
    with VideoWriter(path, fps=4, magnification=1) as video:
        video.append(bars(8))
    data = path.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")
    assert b"moof" not in data


def test_what_was_decoded_before_a_failure_is_left_to_see(tmp_path):
    video = VideoWriter(tmp_path / "a.mp4", fps=4, magnification=1)
    video.append(bars(6))
    video.__exit__(RuntimeError, None, None)
    assert len(list(read_frames(tmp_path / "a.mp4"))) == 6


def test_odd_sizes_grow_to_even_ones(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", fps=4, magnification=1) as video:
        video.append(bars(2, height=17, width=25))
    assert next(read_frames(tmp_path / "a.mp4")).shape == (18, 26, 3)


def test_a_change_of_size_is_refused(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", fps=4, magnification=1) as video:
        video.append(bars(1))
        with pytest.raises(ValueError, match="must stay"):
            video.append(bars(1, height=32))


@pytest.mark.parametrize("frames", [np.zeros((2, 16, 16, 3)), np.zeros((16, 16, 3), np.uint8)])
def test_other_arrays_are_refused(tmp_path, frames):
    with VideoWriter(tmp_path / "a.mp4", fps=4, magnification=1) as video:
        video.append(bars(1))
        with pytest.raises(ValueError, match="uint8"):
            video.append(frames)


def test_a_video_without_frames_is_an_error_and_no_file(tmp_path):
    with pytest.raises(ValueError, match="no frame"):
        VideoWriter(tmp_path / "a.mp4", fps=4).close()
    assert not list(tmp_path.iterdir())


def test_magnified_pixels_stay_sharp():
    frame = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
    big = magnify(frame, 3)
    assert big.shape == (1, 6, 6, 3)
    assert (big[0, :3, :3] == frame[0, 0, 0]).all()
    assert (big[0, 3:, 3:] == frame[0, 1, 1]).all()


@pytest.mark.parametrize(("height", "factor"), [(64, 4), (480, 1), (100, 3)])
def test_small_frames_are_magnified_until_they_can_be_watched(height, factor):
    assert watchable_factor(height) == factor


def test_small_frames_are_magnified_by_default(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", fps=4) as video:
        video.append(bars(1, height=64, width=64))
    assert next(read_frames(tmp_path / "a.mp4")).shape == (256, 256, 3)
