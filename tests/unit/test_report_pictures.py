import numpy as np
import pytest
from PIL import Image

from generator.records.record import BlockRecord, RetrievedFrame, RolloutRecord
from generator.records.video import VideoWriter, read_frames
from generator.report import contact_sheet, recall_sheet, side_by_side
from generator.report.contact_sheet import Column, Group, choose_columns
from generator.report.side_by_side import Comparison
from generator.report.style import PAPER, method_title

RED, GREEN, BLUE = (200, 30, 30), (30, 160, 30), (30, 30, 200)


def plain(*colors):
    return np.stack([np.full((8, 8, 3), color, np.uint8) for color in colors])


def test_columns_spread_over_the_video():
    assert [column.frame for column in choose_columns(241, 5)] == [0, 60, 120, 180, 240]
    assert len(choose_columns(3, 13)) == 3


def test_a_place_that_is_met_again_keeps_its_letter():
    cells = [*range(81), *range(79, -1, -1)]
    columns = choose_columns(len(cells), 9, cells)
    assert "".join(column.place for column in columns) == "ABCDEDCBA"
    by_letter = {column.place: cells[column.frame] for column in columns}
    assert all(cells[column.frame] == by_letter[column.place] for column in columns)


def test_columns_stay_near_their_time():
    cells = [*range(81), *range(79, -1, -1)]
    spread = np.linspace(0, len(cells) - 1, 9)
    chosen = [column.frame for column in choose_columns(len(cells), 9, cells)]
    assert np.abs(spread - chosen).max() <= contact_sheet.LEEWAY_FRAMES + 0.5


def test_the_sheet_shows_each_frame_in_its_row_and_column(tmp_path):
    rows = {"one": plain(RED, GREEN), "two": plain(BLUE, RED)}
    group = Group(prompt="a village", fps=4.0, columns=[Column(0, "A"), Column(1, "B")], rows=rows)
    contact_sheet.draw([group, group], tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    step, top = contact_sheet.CELL + contact_sheet.GAP, contact_sheet.TITLE + contact_sheet.TIMES
    for start in (0, group.height):
        for row, frames in enumerate(rows.values()):
            for column in range(2):
                y, x = start + top + row * step, contact_sheet.LEFT + column * step
                cell = sheet[y : y + contact_sheet.CELL, x : x + contact_sheet.CELL]
                assert (cell == frames[column, 0, 0]).all()
    headings = sheet[contact_sheet.TITLE : top, contact_sheet.LEFT :]
    assert (headings != PAPER).any(axis=(0, 2)).sum() > 60, "times and letters are drawn"


def film(path, *colors, size=(8, 8)):
    """A video file of plain frames."""
    with VideoWriter(path, fps=4) as video:
        video.append(np.stack([np.full((*size, 3), color, np.uint8) for color in colors]))
    return path


def test_side_by_side_plays_all_in_step_with_their_first_visits(tmp_path):
    panels = {
        "kept": film(tmp_path / "kept.mp4", RED, GREEN, RED),
        "lost": film(tmp_path / "lost.mp4", BLUE, GREEN, GREEN),
    }
    comparison = Comparison(prompt="p", fps=4.0, panels=panels, cells=[0, 20, 0])
    side_by_side.write(comparison, tmp_path / "both.mp4")
    pictures = list(read_frames(tmp_path / "both.mp4"))
    assert len(pictures) == 3
    middle = side_by_side.PANEL // 2
    now = side_by_side.PROMPT + side_by_side.TITLE + middle
    first = now + side_by_side.PANEL + side_by_side.GAP + side_by_side.CAPTION
    left, right = (side_by_side.GAP + c * (side_by_side.PANEL + side_by_side.GAP) + middle for c in (0, 1))

    def seen(frame, y, x):
        return pictures[frame][y, x].astype(int)

    np.testing.assert_allclose(seen(2, now, left), RED, atol=8)
    np.testing.assert_allclose(seen(2, now, right), GREEN, atol=8)
    np.testing.assert_allclose(seen(2, first, left), RED, atol=8)
    np.testing.assert_allclose(seen(2, first, right), BLUE, atol=8)
    np.testing.assert_allclose(seen(1, first, left), side_by_side.NOTHING, atol=8)


@pytest.mark.parametrize(("colors", "cells"), [((RED,), ()), ((RED, RED), (0,))])
def test_videos_and_cameras_of_unequal_length_are_not_compared(tmp_path, colors, cells):
    panels = {"a": film(tmp_path / "a.mp4", RED, RED), "b": film(tmp_path / "b.mp4", *colors)}
    with pytest.raises(ValueError, match=r"shorter|cells"):
        side_by_side.write(Comparison(prompt="p", fps=4.0, panels=panels, cells=cells), tmp_path / "c.mp4")


def test_without_a_camera_there_is_one_row_and_frames_keep_their_shape(tmp_path):
    panels = {"wide": film(tmp_path / "a.mp4", RED, size=(8, 16))}
    side_by_side.write(Comparison(prompt="p", fps=4.0, panels=panels), tmp_path / "one.mp4")
    (picture,) = read_frames(tmp_path / "one.mp4")
    assert picture.shape[0] < 2 * side_by_side.PANEL
    assert picture.shape[1] == 2 * (side_by_side.PANEL + side_by_side.GAP)


def test_unknown_methods_bear_their_own_name():
    assert method_title("longlive_rag") == "LongLive-RAG"
    assert method_title("mine") == "mine"


def recalled_record(*blocks):
    return RolloutRecord(
        pool="films",
        video="a",
        method="longlive_rag",
        prompt="a village",
        seed=0,
        latent_fps=4.0,
        fps=4.0,
        settings={},
        versions={},
        blocks=blocks,
        camera_cells=(0, 20, 40, 1),
    )


def recalling(start, *frames):
    hits = tuple(RetrievedFrame(pool="films", video="a", epoch=1, frame=frame, score=0.9) for frame in frames)
    return BlockRecord(start=start, stop=start + 3, parts_ms={"total": 1.0}, retrieved=hits)


def test_recalled_frames_stand_beside_the_view_that_asked(tmp_path):
    frames = plain(RED, GREEN, BLUE, RED)
    recall_sheet.draw(recalled_record(recalling(0), recalling(4, 0, 1)), frames, tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    middle = recall_sheet.HEAD + recall_sheet.CELL // 2
    asked = recall_sheet.GAP + recall_sheet.CELL // 2
    answers = [
        recall_sheet.GAP + recall_sheet.CELL + recall_sheet.ARROW + c * (recall_sheet.CELL + recall_sheet.GAP)
        for c in (0, 1)
    ]
    assert tuple(sheet[middle, asked]) == RED
    assert [tuple(sheet[middle, x + recall_sheet.CELL // 2]) for x in answers] == [RED, GREEN]
    framed = [tuple(sheet[middle, x - 3]) == recall_sheet.SAME_PLACE for x in answers]
    assert framed == [True, False], "cell 1 overlaps cell 0, not cell 20"


def test_rows_are_the_fullest_blocks_spread_over_the_video():
    blocks = [recalling(0), recalling(3, 1), *(recalling(start, 1, 2) for start in range(6, 66, 3))]
    chosen = recall_sheet.choose_blocks(blocks, num_rows=3)
    assert [block.start for block in chosen] == [6, 36, 63]
    assert recall_sheet.choose_blocks([recalling(0)]) == []


def test_a_video_that_recalled_nothing_has_no_sheet(tmp_path):
    with pytest.raises(ValueError, match="recalled nothing"):
        recall_sheet.draw(recalled_record(recalling(0)), plain(RED), tmp_path / "sheet.png")


def test_the_prompt_above_the_panels_is_that_of_the_moment():
    comparison = Comparison(prompt="day", fps=4.0, panels={}, turns={1.5: "dusk", 3.0: "night"})
    assert [comparison.prompt_at(frame) for frame in (0, 5, 6, 11, 12, 40)] == [
        "day",
        "day",
        "dusk",
        "dusk",
        "night",
        "night",
    ]
