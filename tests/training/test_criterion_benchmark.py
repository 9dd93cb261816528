import copy
import json

import pytest

from benchmarks import criterion_speed


def test_a_small_case(capsys):
    assert criterion_speed.main(["--cases", "12x3x2", "--size", "64", "--points", "50"]) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["name"].rpartition(" ")[2] for row in rows] == ["losses", "step", "memory"]
    assert all(row["value"] > 0 and row["reference"] > 0 for row in rows[:2])


@pytest.mark.parametrize(
    ("kind", "others"), [("terms", [[1.0, 2.0], [3.0, 4.1]]), ("gradients", [5.0, 6.1])], ids=["terms", "gradients"]
)
def test_other_results_are_no_figure(kind, others):
    ours = {"terms": [[1.0, 2.0], [3.0, 4.0]], "gradients": [5.0, 6.0]}
    criterion_speed.require_equal(ours, copy.deepcopy(ours))
    with pytest.raises(RuntimeError, match=f"{kind} differ: ours and published are"):
        criterion_speed.require_equal(ours, {**ours, kind: others})
