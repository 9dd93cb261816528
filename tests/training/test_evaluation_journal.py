from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dico.precision import ImageOutcome
from training.evaluation.point_report import PointOutcome
from training.evaluation.running.image_result import ImageResult
from training.evaluation.running.journal import JournalError, ResultJournal, require_resumable
from training.evaluation.running.point_result import PointResult

ASKED = {"data_set": "a", "subject": {"sha256": "1"}}


def test_results_are_there_again(tmp_path):
    path = tmp_path / "a" / "images.journal"
    with ResultJournal(path, ASKED, resume=False) as journal:
        journal.append({"image_id": 1})
        journal.append({"image_id": 2})
        assert list(journal.results()) == [{"image_id": 1}, {"image_id": 2}]
    with ResultJournal(path, ASKED, resume=True) as journal:
        journal.append({"image_id": 3})
        assert [one["image_id"] for one in journal.results()] == [1, 2, 3]


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_torn_result_is_forgotten(tmp_path, cut):
    path = tmp_path / "images.journal"
    with ResultJournal(path, ASKED, resume=False) as journal:
        journal.append({"image_id": 1, "name": "a" * 20})
        whole = path.stat().st_size
        journal.append({"image_id": 2, "name": "b" * 20})
    size = path.stat().st_size
    with open(path, "r+b") as stream:
        stream.truncate(size - cut)
    assert size - cut > whole
    with ResultJournal(path, ASKED, resume=True) as journal:
        assert [one["image_id"] for one in journal.results()] == [1]
        journal.append({"image_id": 2})
        assert [one["image_id"] for one in journal.results()] == [1, 2]


def test_a_damaged_result_and_what_follows_it_are_forgotten(tmp_path):
    path = tmp_path / "images.journal"
    with ResultJournal(path, ASKED, resume=False) as journal:
        for number in range(3):
            journal.append({"image_id": number, "name": "abc"})
    content = path.read_bytes()
    path.write_bytes(content.replace(b'{"image_id": 1, "name": "abc"}', b'{"image_id": 9, "name": "abc"}'))
    with ResultJournal(path, ASKED, resume=True) as journal:
        assert [one["image_id"] for one in journal.results()] == [0]


def test_a_journal_that_ends_within_its_header_is_begun_again(tmp_path):
    path = tmp_path / "images.journal"
    with ResultJournal(path, ASKED, resume=False):
        pass
    with open(path, "r+b") as stream:
        stream.truncate(path.stat().st_size - 1)
    with ResultJournal(path, {**ASKED, "data_set": "b"}, resume=True) as journal:
        assert list(journal.results()) == []
    require_resumable(path, {**ASKED, "data_set": "b"}, resume=True)


def test_another_evaluation_is_refused_with_what_differs_and_the_remedy(tmp_path):
    path = tmp_path / "images.journal"
    ResultJournal(path, ASKED, resume=False).__exit__()
    with pytest.raises(JournalError, match=r"has results already: --resume goes on with them"):
        ResultJournal(path, ASKED, resume=False)
    other = {**ASKED, "subject": {"sha256": "2"}}
    with pytest.raises(
        JournalError,
        match=r'another evaluation \(subject\.sha256: "1" in the journal, "2" now\); ask for the same, choose another',
    ):
        ResultJournal(path, other, resume=True)
    require_resumable(path, ASKED, resume=True)
    require_resumable(tmp_path / "none", other, resume=True)


def test_two_processes_do_not_write_one_journal(tmp_path):
    path = tmp_path / "images.journal"
    with ResultJournal(path, ASKED, resume=False) as journal:
        with pytest.raises(JournalError, match="is written by another process now; let it end, or choose another"):
            ResultJournal(path, ASKED, resume=True)
        journal.append({"image_id": 1})
    with ResultJournal(path, ASKED, resume=True) as journal:
        assert list(journal.results()) == [{"image_id": 1}]


def test_the_result_of_an_image_round_trips():
    rng = np.random.default_rng(0)
    outcome = ImageOutcome(
        n_masks=5,
        score_D=rng.random(3),
        outcome_ATD=rng.integers(-1, 2, (4, 10, 3)).astype(np.int8),
        truths_A=np.array([2, 0, 1, 1]),
        finder_TG=rng.integers(-1, 3, (10, 3)),
    )
    crowd_G = np.array([False, True, False])
    for kinds in (("part", "", "object"), ("", "", "")):
        result = ImageResult(7, "a/b.jpg", outcome, np.array([0, 2, 1], np.int32), kinds, crowd_G, "", 1.5)
        again = ImageResult.from_json(result.to_json())
        assert (again.image_id, again.file_name, again.kind_G, again.fault, again.seconds) == (
            7,
            "a/b.jpg",
            kinds,
            "",
            1.5,
        )
        assert not again.left_out and ImageResult.from_json(replace(result, left_out=True).to_json()).left_out
        for name in ("score_D", "outcome_ATD", "truths_A", "finder_TG"):
            before, after = getattr(outcome, name), getattr(again.outcome, name)
            assert before.dtype == after.dtype and (before == after).all()
        assert (
            again.level_D.tolist() == [0, 2, 1]
            and again.outcome.n_masks == 5
            and again.is_crowd_G.tolist() == [0, 1, 0]
        )
    with pytest.raises(ValueError, match="packed must be an array that pack gave"):
        ImageResult.from_json({**result.to_json(), "level_D": ["<i4", [3], "AAAA"]})


def test_the_result_of_clicks_round_trips():
    outcome = PointOutcome("7", np.array([0.5, 1.0]), np.array([0.75, 1.0]), np.array([[1, 0], [2, 3]]))
    again = PointResult.from_json(PointResult("7", outcome, "", 2.0).to_json())
    assert again.outcome.max_iou_G.tolist() == [0.5, 1.0] and again.outcome.clicks_TG.tolist() == [[1, 0], [2, 3]]
    assert again.outcome.answered and again.seconds == 2.0
    unanswered = PointOutcome("8", np.zeros(0), np.zeros(0), answered=False)
    again = PointResult.from_json(PointResult("8", unanswered, "no image", 0.0).to_json())
    assert not again.outcome.answered and again.outcome.clicks_TG is None and again.fault == "no image"
    assert PointResult.from_json(PointResult("9", None, "no truths", 0.0).to_json()).outcome is None
