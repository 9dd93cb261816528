from __future__ import annotations

import json

import pytest

from benchmarks import inference_memory
from benchmarks.inference_memory import Case, drawn, ours, published, require_same
from benchmarks.run_all import COLUMNS


@pytest.mark.slow
def test_the_benchmark_runs_on_a_little_data(capsys):
    small = ["--size", "90x120", "--queries", "20", "--backbone", "tiny", "--short-side", "64"]
    assert inference_memory.main(small) == 0
    figures = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert len(figures) == 3 and all(tuple(row) == COLUMNS and row["value"] > 0 for row in figures)


def test_other_masks_and_other_scores_are_no_figure():
    output, frame = drawn(Case((60, 90), 40, "tiny", 64))
    mine, (inside_NHW, score_N) = ours(output, frame), published(output, frame)
    require_same(mine, inside_NHW, score_N)
    with pytest.raises(RuntimeError, match=r"masks differ: only \d+\.\d+% of the pixels are equal"):
        require_same(mine, inside_NHW.roll(3, dims=2), score_N)
    with pytest.raises(RuntimeError, match=r"masks differ: \d+ of ours, \d+ of the published way"):
        require_same(mine, inside_NHW, score_N * (score_N < score_N.max()))
