import shutil
import subprocess
import sys
import textwrap

import pytest

from benchmarks import run_all

MAIN = 'if __name__ == "__main__":\n    pass'
GOOD = """print("slow part done")
print('{"name": "merging", "value": 0.5, "reference": 60.0, "ratio": 120.0, "unit": "s"}')
"""
TWO = """import json
row = dict(name="a", value=1, reference=None, ratio=None, unit="GB")
print(json.dumps([row, {**row, "name": "b"}]))
"""


@pytest.fixture
def run_in(tmp_path):
    def run(*arguments, **scripts):
        (folder := tmp_path / "benchmarks").mkdir(exist_ok=True)
        shutil.copy(run_all.__file__, folder)
        for name, source in scripts.items():
            (folder / f"{name}.py").write_text(f"{MAIN}\n{textwrap.indent(source, '    ')}")
        command = [sys.executable, "-m", "benchmarks.run_all", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    return run


def test_figures_become_a_table(run_in):
    done = run_in(good=GOOD, two=TWO)
    assert done.returncode == 0
    assert "slow part done" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines()[-4:]]
    assert rows == [
        ["name", "value", "reference", "ratio", "unit"],
        ["merging", "0.5", "60", "120", "s"],
        ["a", "1", "-", "-", "GB"],
        ["b", "1", "-", "-", "GB"],
    ]


def test_one_that_fails_does_not_stop_the_others(run_in):
    done = run_in(a="raise SystemExit(3)", b="print('fast!')", c='print(\'{"name": "x"}\')', d=GOOD, e="")
    assert done.returncode == 1
    assert "merging  0.5" in done.stdout
    assert done.stdout.splitlines()[-4:] == [
        "FAILED a: exit code 3",
        "FAILED b: its last line is not JSON: 'fast!'",
        "FAILED c: its last line lacks value, reference, ratio, unit",
        "FAILED e: its last line is not JSON: ''",
    ]


def test_one_that_lacks_an_input_is_no_failure(run_in):
    done = run_in(a="print('skipped: needs photographs')\nraise SystemExit(77)", b=GOOD)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "a skipped: needs photographs"
    assert "merging  0.5" in done.stdout


def test_what_benchmarks_share_is_not_run(run_in, tmp_path):
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "clock.py").write_text("1 / 0\n")
    assert run_in(good=GOOD).returncode == 0


def test_some_can_be_chosen(run_in):
    assert "FAILED" not in run_in("--only", "good", good=GOOD, bad="1/0").stdout
    refused = run_in("--only", "god", good=GOOD)
    assert refused.returncode == 2
    assert "no benchmark god; choose from bad, good" in refused.stderr


def test_a_last_line_that_is_no_object_is_a_failure():
    assert run_all.read_figures("x", "3").failure.startswith("its last line lacks name")
