import sys
import time

import pytest

from generator.processes import process
from generator.processes.process import Process, ProcessError, wait_for_all


def python(code, on_line=lambda _: None, name="child"):
    return Process(name, [sys.executable, "-c", code], on_line)


def test_lines_are_heard_in_order():
    heard = []
    with python("for i in range(3): print(i)", heard.append) as child:
        wait_for_all([child])
    assert heard == ["0", "1", "2"]


def test_a_failure_is_told_with_its_last_words():
    code = "import sys; print('starting'); print('out of paint', file=sys.stderr); sys.exit(3)"
    with python(code) as child, pytest.raises(ProcessError) as caught:
        wait_for_all([child])
    assert str(caught.value) == "child ended with exit code 3:\n    out of paint"


def test_lines_that_nobody_understands_are_last_words():
    with (
        python("print('what'); raise SystemExit(1)", int) as child,
        pytest.raises(ProcessError, match="what"),
    ):
        wait_for_all([child])


def test_one_failure_is_reported_while_others_run():
    started = time.monotonic()
    with python("import time; time.sleep(60)") as slow:
        with python("raise SystemExit(1)") as failing, pytest.raises(ProcessError):
            wait_for_all([slow, failing])
        assert slow.poll() is None
    assert slow.poll() is not None
    assert time.monotonic() - started < 30


def test_a_process_that_ignores_the_request_is_ended(monkeypatch):
    monkeypatch.setattr(process, "GRACE_S", 0.2)
    heard = []
    code = (
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('deaf', flush=True)\n"
        "time.sleep(60)"
    )
    with python(code, heard.append) as child:
        while not heard:
            time.sleep(0.01)
    assert child.poll() == -9


def test_a_signal_is_named():
    with python("import os; os.kill(os.getpid(), 9)") as child, pytest.raises(ProcessError, match="signal 9"):
        wait_for_all([child])
