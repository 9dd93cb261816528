"""How command lines end."""

from __future__ import annotations

import argparse

import pytest

from dico.command_line import exit_code
from dico.executors import WorkerError


def raising(error: BaseException):
    def work() -> int:
        raise error

    return work


def test_the_code_is_that_of_the_work(capsys):
    assert [exit_code("prog", lambda code=code: code) for code in (0, 1)] == [0, 1]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("n must be 1"), "prog: error: n must be 1\n"),
        (KeyError("no key n"), "prog: error: no key n\n"),
        (FileNotFoundError(2, "No such file or directory", "a.txt"), "prog: error: a.txt: No such file or directory\n"),
        (ImportError("it needs x: pip install x"), "prog: error: it needs x: pip install x\n"),
        (WorkerError("no worker is of use"), "prog: error: no worker is of use\n"),
        (
            RuntimeError("cannot cache function 'f': no locator available for file 'f.py'"),  # as numba says it
            "prog: error: compiled loops have nowhere to be kept, as neither the package nor the home folder can be "
            "written; set NUMBA_CACHE_DIR to a folder that can\n",
        ),
    ],
)
def test_what_can_be_mended_is_a_line(error, line, capsys):
    assert exit_code("prog", raising(error)) == 2
    assert capsys.readouterr().err == line


def test_what_cannot_be_mended_is_raised_unless_it_is_named(capsys):
    with pytest.raises(ZeroDivisionError):
        exit_code("prog", raising(ZeroDivisionError("by 0")))
    with pytest.raises(RuntimeError, match="another"):
        exit_code("prog", raising(RuntimeError("another")))
    assert exit_code("prog", raising(ZeroDivisionError("by 0")), also=(ZeroDivisionError,)) == 2
    assert capsys.readouterr().err == "prog: error: by 0\n"


def test_what_argparse_has_said_is_not_said_again(capsys):
    parser = argparse.ArgumentParser(prog="prog")
    assert exit_code("prog", lambda: parser.parse_args(["--unknown"])) == 2
    assert "error: unrecognized arguments: --unknown" in capsys.readouterr().err
    assert exit_code("prog", lambda: parser.parse_args(["--help"])) == 0


def test_ctrl_c_may_be_told(capsys):
    assert exit_code("prog", raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == ""
    assert exit_code("prog", raising(KeyboardInterrupt()), when_stopped="it goes on from here") == 130
    assert capsys.readouterr().err == "prog: it goes on from here\n"
