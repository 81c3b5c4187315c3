import io

import pytest
from rich.console import Console

from generator.processes.progress import BarMeter, JsonMeter, LineMeter, meter_for, replay


def run(meter, label="village", total=30, step=3):
    with meter:
        meter.plan(label, total)
        meter.begin(label)
        for _ in range(total // step):
            meter.advance(label, step)
        meter.end(label)


def test_lines_come_at_every_tenth_with_rate_and_time_left():
    now, lines = iter(range(100)), []
    run(LineMeter(lines.append, clock=lambda: float(next(now))))
    assert lines[0] == "village: 0/30 frames"
    assert lines[1] == "village: 3/30 frames, 3.0 frames/s, 9 s left"
    assert lines[-2] == "village: 30/30 frames, 3.0 frames/s, 0 s left"
    assert lines[-1] == "village: done"
    assert len(lines) == 12


def test_small_steps_do_not_flood():
    lines = []
    run(LineMeter(lines.append), total=1000, step=1)
    assert len(lines) == 12


def test_json_lines_carry_a_rollout_to_another_meter():
    stream, lines, direct = io.StringIO(), [], []
    run(JsonMeter(stream))
    far = LineMeter(lines.append, clock=lambda: 1.0)
    for line in stream.getvalue().splitlines():
        replay(line, far)
    run(LineMeter(direct.append, clock=lambda: 1.0))
    assert lines == direct


@pytest.mark.parametrize("line", ["not json", "[]", '{"event": "explode"}', '{"event": "plan", "label": 3}'])
def test_other_lines_are_refused(line):
    with pytest.raises(ValueError, match=r"."):
        replay(line, LineMeter(print))


def test_planning_twice_changes_nothing():
    lines = []
    meter = LineMeter(lines.append)
    meter.plan("a", 30)
    meter.plan("a", 60)
    meter.begin("a")
    assert lines == ["a: 0/30 frames"]


def test_two_bars_live_in_one_terminal():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with BarMeter(console) as meter:
        meter.plan("village", 30)
        meter.plan("village", 30)
        meter.plan("forest", 30)
        meter.begin("village")
        meter.advance("village", 30)
        meter.end("village")
    last = console.file.getvalue().rpartition("village")[2]
    assert "30/30 frames" in last
    assert "done" in last
    assert "0/30 frames" in last
    assert "waiting" in last


def test_bars_only_where_someone_watches():
    assert isinstance(meter_for(Console(file=io.StringIO(), force_terminal=True)), BarMeter)
    assert isinstance(meter_for(Console(file=io.StringIO())), LineMeter)
