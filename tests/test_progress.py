from __future__ import annotations

import logging

import pytest

from dico import progress
from dico.progress import Progress
from dico.run_log import RunLog
from dico.run_summary import Tally
from dico.task import Failed, Labelled


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """The time that the module sees, in its only element."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_line_every_half_minute(tmp_path, clock, capsys):
    tally = Tally()
    with RunLog(tmp_path) as run_log, Progress(1010, 10, warm_up=1, run_log=run_log, shown=True) as shown:
        for _ in range(101):
            tally.add(Labelled(b"", 3))
            clock[0] += 0.5
            shown.show(tally)
        tally.add(Failed("decode", "x"))
        clock[0] += 8.5
        shown.show(tally)
        assert capsys.readouterr().err.splitlines() == [
            "dico: 70 of 1,010 images, 0 failed, 2.00 images/s, 7 min 50 s to go"
        ]
        clock[0] += 1.5
        shown.show(tally)
    assert capsys.readouterr().err == "dico: 112 of 1,010 images, 1 failed, 1.68 images/s, 8 min 53 s to go\n"
    written = run_log.path.read_text(encoding="utf-8").splitlines()
    assert [line.partition(" INFO ")[2] for line in written] == [
        "70 of 1,010 images, 0 failed, 2.00 images/s, 7 min 50 s to go",
        "112 of 1,010 images, 1 failed, 1.68 images/s, 8 min 53 s to go",
    ]


def test_the_images_on_which_loops_are_compiled_count_for_no_speed(tmp_path, clock, capsys):
    tally = Tally()
    with RunLog(tmp_path) as run_log, Progress(5, 0, warm_up=1, run_log=run_log, shown=True) as shown:
        for seconds in (31, 10, 21):
            clock[0] += seconds
            tally.add(Labelled(b"", 3))
            shown.show(tally)
    assert capsys.readouterr().err.splitlines() == [
        "dico: 1 of 5 images, 0 failed, estimating the speed",
        "dico: 3 of 5 images, 0 failed, 0.06 images/s, 31 s to go",
    ]


def test_nothing_is_shown_when_quiet_and_nothing_is_promised_without_a_rate(tmp_path, clock, capsys):
    with RunLog(tmp_path) as run_log, Progress(5, 0, warm_up=1, run_log=run_log, shown=False) as shown:
        clock[0] += 31
        shown.show(Tally())
    assert capsys.readouterr() == ("", "")
    assert run_log.path.read_text(encoding="utf-8").endswith(" INFO 0 of 5 images, 0 failed, estimating the speed\n")


def test_the_run_log_has_warnings_of_the_package_and_how_it_ended(tmp_path, caplog):
    with pytest.raises(KeyboardInterrupt), RunLog(tmp_path) as run_log:
        logging.getLogger("dico.somewhere").warning("a worker died: %s", "killed by SIGSEGV")
        logging.getLogger("other").warning("not ours")
        run_log.write("two\nlines")
        raise KeyboardInterrupt
    logging.getLogger("dico.somewhere").warning("too late")
    lines = [line.split(" ", 2)[2] for line in run_log.path.read_text(encoding="utf-8").splitlines()]
    assert lines == [
        "WARNING a worker died: killed by SIGSEGV",
        "INFO two",
        "INFO lines",
        "INFO ended by KeyboardInterrupt: ",
    ]
    assert [record.message for record in caplog.records if record.message in ("two", "lines")] == []


def test_a_name_that_is_not_text_can_be_logged(tmp_path):
    with RunLog(tmp_path) as run_log:
        run_log.write("failed: \udcff.jpg")
    assert "failed: \\udcff.jpg" in run_log.path.read_text(encoding="utf-8")
