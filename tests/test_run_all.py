import importlib.util
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "run_all.py"
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
        shutil.copy(SCRIPT, tmp_path)
        for name, source in scripts.items():
            (tmp_path / f"{name}.py").write_text(f"{MAIN}\n{textwrap.indent(source, '    ')}")
        command = [sys.executable, str(tmp_path / SCRIPT.name), *arguments]
        return subprocess.run(command, capture_output=True, text=True)

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
        "FAILED a.py: exit code 3",
        "FAILED b.py: its last line is not JSON: 'fast!'",
        "FAILED c.py: its last line lacks value, reference, ratio, unit",
        "FAILED e.py: its last line is not JSON: ''",
    ]


def test_one_that_lacks_an_input_is_no_failure(run_in):
    done = run_in(a="print('skipped: needs photographs')\nraise SystemExit(77)", b=GOOD)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "a.py skipped: needs photographs"
    assert "merging  0.5" in done.stdout


def test_what_benchmarks_share_is_not_run(run_in, tmp_path):
    (tmp_path / "clock.py").write_text("1 / 0\n")
    assert run_in(good=GOOD).returncode == 0


def test_some_can_be_chosen(run_in):
    assert "FAILED" not in run_in("--only", "good", good=GOOD, bad="1/0").stdout
    refused = run_in("--only", "god", good=GOOD)
    assert refused.returncode == 2
    assert "no benchmark god; choose from bad, good" in refused.stderr


def test_a_last_line_that_is_no_object_is_a_failure():
    spec = importlib.util.spec_from_file_location("run_all", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    assert module.read_figures("x.py", "3").failure.startswith("its last line lacks name")
