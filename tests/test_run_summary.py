from __future__ import annotations

from pathlib import Path

from dico.run_summary import RunSummary, Tally
from dico.task import Failed, Labelled


def summary(**changes) -> RunSummary:
    fields = {
        "images": 2000,
        "found_done": 0,
        "labelled": 2000,
        "failed": 0,
        "failed_in_store": 0,
        "masks": 300_000,
        "seconds": 500.0,
        "interrupted": False,
        "too_many_failures": False,
        "failures_path": Path("out/failures.jsonl"),
        "log_path": Path("out/logs/x.log"),
    }
    return RunSummary(**{**fields, **changes})


def test_all_went_well():
    assert summary().sentence() == "2,000 of 2,000 images labelled in 500.0 s, 4.00 images/s, 300,000 masks"


def test_time_by_stage_largest_first_and_no_crumbs():
    text = summary(labelled=10, images=10, seconds_by_stage={"load": 0.004, "extract": 6.0, "refine": 14.0}).sentence()
    assert text.splitlines()[1] == "2.00 s of work an image: refine 70%, extract 30%"


def test_failures_interruption_and_what_is_left():
    text = summary(
        found_done=500,
        labelled=400,
        failed=100,
        failed_in_store=110,
        interrupted=True,
        failed_by_kind={"timeout": 1, "decode": 99},
    ).sentence()
    assert text.splitlines() == [
        "400 of 2,000 images labelled in 500.0 s, 1.00 images/s, 300,000 masks, 490 were done before,"
        " 10 failed before, 1,000 still to do (interrupted; the same command goes on)",
        "110 images failed (99 decode, 1 timeout in this run); the list, with the reasons, is out/failures.jsonl;"
        " --retry-failed tries them again",
    ]


def test_nothing_to_do():
    text = summary(found_done=2000, labelled=0, masks=0, seconds=0.0).sentence()
    assert text == "0 of 2,000 images labelled in 0.0 s, 2,000 were done before"


def test_what_failed_before_was_not_done_before():
    text = summary(images=14, found_done=14, labelled=0, masks=0, failed_in_store=2, seconds=0.0).sentence()
    assert text.splitlines() == [
        "0 of 14 images labelled in 0.0 s, 12 were done before, 2 failed before",
        "2 images failed in earlier runs; the list, with the reasons, is out/failures.jsonl; --retry-failed tries them"
        " again",
    ]


def test_the_images_on_which_loops_are_compiled_are_told_apart():
    seconds = {"divide": 20.0, "refine": 14.0}
    by_stage = {"seconds_by_stage": seconds, "first_by_stage": {"divide": 14.0, "refine": 12.0}}
    text = summary(images=5, labelled=5, first=1, **by_stage).sentence()
    assert text.splitlines()[1] == "2.00 s of work an image: divide 75%, refine 25%; 26.00 s for the first"
    text = summary(images=5, labelled=5, first=2, **by_stage).sentence()
    assert text.splitlines()[1].endswith("; 13.00 s for each of the first 2")
    text = summary(images=2, labelled=2, first=2, seconds_by_stage=seconds, first_by_stage=seconds).sentence()
    assert text.splitlines()[1] == "17.00 s of work an image: divide 59%, refine 41%"


def test_a_tally():
    tally = Tally(warm_up=1)
    tally.add(Labelled(b"", 3, {"divide": 1.0, "load": 0.5}))
    tally.add(Labelled(b"", 4, {"divide": 2.0}))
    tally.add(Failed("decode", ""))
    assert (tally.labelled, tally.masks, tally.failed) == (2, 7, 1)
    assert tally.seconds_by_stage == {"divide": 3.0, "load": 0.5}
    assert tally.first_by_stage == {"divide": 1.0, "load": 0.5} and tally.failed_by_kind == {"decode": 1}
