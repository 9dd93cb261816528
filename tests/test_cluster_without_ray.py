"""What actors do, what they are sent and what they died of, with no Ray anywhere."""

from __future__ import annotations

import pickle
import socket
import subprocess
import sys

import pytest
from labelers import whole

from dico.cluster.actors import CannotStart, ExtractorGoneError, FeatureActor, LabelActor
from dico.cluster.deaths import died_with_its_node, last_words, lost_of, lost_with_node, reason_of
from dico.cluster.job_package import JobPackage
from dico.job import LabelerJob
from dico.store import ImageEntry
from dico.task import Lost, Task


@pytest.mark.parametrize(
    ("message", "words", "reason"),
    [
        (
            "1 worker(s) were killed due to the node running low on memory.\nMemory on",
            "",
            "killed by Ray, as the memory",
        ),
        ("Worker exits with an exit code 1. The process receives a SIGTERM.", "", "killed by SIGTERM"),
        ("Worker exits with an exit code 3.", "", "stopped with exit code 3"),
        ("connection error code 2. End of file. SIGSEGV or", "", "killed: by a crash, by os._exit"),
        ("connection error code 2.", "x\n*** SIGBUS received at time=1", "killed by SIGBUS"),
        ("something new\nof Ray's\n", "", "lost: of Ray's"),
        ("", "", "lost: Ray does not say why"),
    ],
)
def test_reasons(message, words, reason):
    assert reason_of(message, words).startswith(reason)
    kind = "memory" if "low" in message else "crash"
    assert lost_of(message, words) == Lost(reason_of(message, words), words, kind=kind)
    assert lost_of(message, words, blameless=True).blameless


def test_a_lost_machine():
    assert died_with_its_node("The actor died because its node has died. Node Id: 0ce4")
    assert lost_with_node("here") == Lost("lost with its machine here", blameless=True)


def test_the_last_words_are_the_workers_own_and_those_of_another_machine_are_named(tmp_path):
    file = tmp_path / "worker.err"
    file.write_text(":job_id:01000000\nFatal error\n:actor_name:LabelActor\n")
    assert last_words(socket.gethostname(), str(file)) == "Fatal error"
    assert last_words("elsewhere", "/logs/worker.err") == "what it wrote is in /logs/worker.err on elsewhere"
    assert last_words("elsewhere", "") == ""


def package() -> JobPackage:
    return JobPackage.of(LabelerJob(whole), pickle.dumps)


def test_an_actor_refuses_what_it_cannot_do_yet():
    actor, task = LabelActor(lambda: "", lambda *_: []), Task(ImageEntry(0, "a.png", 1), __file__)
    with pytest.raises(RuntimeError, match="must be ready"):
        actor.do(task, [])
    with pytest.raises(RuntimeError, match="must be ready"):
        next(FeatureActor(lambda: "").extract((), None))


def test_an_actor_says_why_it_cannot_be_ready():
    actor = LabelActor(lambda: "", lambda *_: [])
    assert isinstance(actor.ready(JobPackage(b"not a pickle", (), package().version)), CannotStart)
    assert "install the same version" in actor.ready(JobPackage(package().job, (), "0.0.1")).error


def test_that_an_extractor_was_at_work_survives_pickling():
    assert pickle.loads(pickle.dumps(ExtractorGoneError(True))).begun


def test_none_of_this_imports_ray_and_the_executor_says_what_to_install():
    code = """
import sys
sys.modules["ray"] = None
import dico.cluster.actors, dico.cluster.deaths, dico.cluster.job_package, dico.cluster.quiet
try:
    import dico.cluster.executor
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "the ray executor needs ray: pip install 'divide-and-conquer[ray]'\n", done.stderr
