"""Actors of a Ray cluster that crash, hang, are killed, and lose their machine: the same rows as from one process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import labelers
import numpy as np
import PIL.Image
import pytest
from labelers import ByHeight, whole

from benchmarks.faulty import FaultyLabeler, begun
from dico.executors import Session, WorkerError, supervisor
from dico.executors.supervisor import Broken, Died, Done, Event, GaveBack, Ready
from dico.features.base import PatchFeatures
from dico.image import Image
from dico.inputs import list_images
from dico.job import LabelerJob
from dico.masks import MaskSet
from dico.run import RunOptions, RunSummary, run
from dico.store import ImageEntry, Manifest, MaskStore
from dico.task import Failed, Labelled, LabelWork, Lost, Result, Task

ray = pytest.importorskip("ray", reason="needs ray: pip install 'divide-and-conquer[ray]'")

from ray import cloudpickle  # noqa: E402
from ray.cluster_utils import Cluster  # noqa: E402
from ray.exceptions import ActorUnavailableError, RayTaskError  # noqa: E402

from dico.cluster.executor import RayExecutor, num_extractors  # noqa: E402
from dico.cluster.job_package import JobPackage  # noqa: E402
from dico.cluster.workers import FRESH_S, RayWorkers  # noqa: E402

pytestmark = pytest.mark.ray

GOOD_HEIGHT = 8


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two CPUs, to which this process is connected as a user's might be; tests add nodes, and lose them."""
    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    ray.init(address=started.address, log_to_driver=False, logging_level="ERROR")
    yield started
    ray.shutdown()
    started.shutdown()


@pytest.fixture
def task(tmp_path: Path) -> Callable[..., Task]:
    """A function that makes a task of an image of a height."""

    def make(key: int, height: int = GOOD_HEIGHT) -> Task:
        file = tmp_path / "images" / f"{key:03d}.png"
        file.parent.mkdir(exist_ok=True)
        pixels = np.random.default_rng(key).integers(0, 256, (height, 9, 3), dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(file)
        return Task(ImageEntry(key, file.name, file.stat().st_size), file)

    return make


def do(session: Session, tasks: list[Task]) -> dict[int, Result]:
    for key, task in enumerate(tasks):
        session.submit(key, task)
    return dict(collected for _ in tasks if (collected := session.collect(60.0)) is not None)


def wait_for(workers: RayWorkers, count: int = 1) -> list[Event]:
    """So many events, in order."""
    found: list[Event] = []
    until = time.monotonic() + 60
    while len(found) < count and time.monotonic() < until:
        found += workers.wait(1.0)
    assert len(found) == count
    return found


def workers_of(labeler: Callable[[Image], MaskSet]) -> RayWorkers:
    return RayWorkers(JobPackage.of(LabelerJob(labeler), cloudpickle.dumps))


def label(folder: Path, output: Path, job: object, executor: object = None) -> tuple[RunSummary, dict[str, bytes]]:
    manifest = Manifest.of_files(list_images(folder), root=folder, config={}, config_hash="x", shard_size=16)
    options = RunOptions(show_progress=False, max_crashes=1)
    summary = run(job, MaskStore.create(output, manifest), options, executor=executor)
    return summary, {path.name: path.read_bytes() for path in sorted((output / "shards").iterdir())}


def test_every_fault_is_of_its_own_image_alone(cluster, task):
    faults = {31: labelers.segfault, 32: labelers.leave, 33: labelers.complain, 34: labelers.hang}
    heights = [GOOD_HEIGHT] * 12
    for at, height in zip((2, 4, 6, 8), faults, strict=True):
        heights[at] = height
    tasks = [task(key, height) for key, height in enumerate(heights)]
    executor = RayExecutor(None, 2, timeout_s=8.0)
    with executor.session(LabelerJob(ByHeight(faults))) as session:
        assert str(executor) == "2 Ray actors on 1 node"
        results = do(session, tasks)
    work = LabelWork(whole, 10**6)
    for key in set(range(12)) - {2, 4, 6, 8}:
        assert results[key].row == work(tasks[key]).row
    crash, end, error, hang = (results[key] for key in (2, 4, 6, 8))
    assert (crash.reason, crash.blameless) == ("killed by SIGSEGV", False)
    assert "in segfault" in crash.traceback
    assert "os._exit" in end.reason and not end.blameless
    assert (error.kind, error.error) == ("error", "ValueError: this image is not to its taste")
    assert (hang.kind, hang.error.split(";")[0]) == ("timeout", "took longer than 8 s")


def test_a_worker_that_is_killed_from_outside_takes_its_task_with_it_and_one_that_we_kill_is_forgotten(cluster, task):
    with workers_of(labelers.hang) as workers:
        one, other = workers.start(), workers.start()
        assert {event.worker for event in wait_for(workers, 2)} == {one, other}
        workers.give(one, task(0))
        workers.give(other, task(1))
        workers.kill(other)
        os.kill(workers.infos[one].pid, signal.SIGKILL)
        (died,) = wait_for(workers)
        assert died.worker == one and died.lost.reason.startswith("killed: by a crash") and not died.lost.blameless
        assert workers.infos == {} and workers.wait(0.0) == []


def test_a_worker_that_dies_idle_takes_no_task_with_it(cluster, task):
    with workers_of(whole) as workers:
        worker = workers.start()
        wait_for(workers)
        os.kill(workers.infos[worker].pid, signal.SIGKILL)
        time.sleep(2 * FRESH_S)
        workers.give(worker, task(0))
        (died,) = wait_for(workers)
        assert isinstance(died, Died) and died.lost.blameless and died.lost.reason.startswith("killed: by a crash")


def test_a_worker_that_could_not_be_asked_is_ready_again_after_a_rest(cluster):
    with workers_of(whole) as workers:
        worker = workers.start()
        wait_for(workers)
        unasked = RayTaskError("alive", "", ActorUnavailableError("busy", None))
        workers._alive[worker] = ray.put(unasked)
        (gave_back,) = workers._failed(worker, unasked)
        assert isinstance(gave_back, GaveBack) and gave_back.lost.blameless
        assert wait_for(workers) == [Ready(worker)]


def test_an_answer_that_does_not_arrive_is_no_failure_of_the_job(cluster):
    with workers_of(whole) as workers:
        for error in (ray.exceptions.GetTimeoutError("late"), ray.exceptions.ObjectLostError("00" * 28, None, "")):
            worker = workers.start()
            assert workers._failed(worker, error) == [
                Died(worker, Lost("lost: its answer did not arrive", blameless=True))
            ]


def test_a_job_that_cannot_make_its_work_ends_the_run_with_what_it_says(cluster, task):
    with RayExecutor(None, 1).session(labelers.BrokenJob(whole)) as session:
        session.submit(0, task(0))
        with pytest.raises(WorkerError, match=r"^extractor\.weights: there is no such file$"):
            session.collect(60.0)


def test_actors_that_die_of_the_job_end_the_run(cluster, task):
    with RayExecutor(None, 2).session(labelers.HopelessJob(whole)) as session:
        session.submit(0, task(0))
        with pytest.raises(WorkerError, match="3 workers in a row died before they were ready"):
            session.collect(60.0)


def test_a_job_that_cannot_be_pickled():
    with pytest.raises(TypeError, match="the job cannot be pickled for other processes"):
        JobPackage.of(LabelerJob(threading.Lock()), cloudpickle.dumps)


def test_a_labeler_that_only_this_process_knows_and_one_thread_for_each_library(cluster, task):
    count = labelers.count_threads
    with RayExecutor(None, 1).session(LabelerJob(lambda image: count(image))) as session:
        (result,) = do(session, [task(0)]).values()
    assert isinstance(result, Labelled)


def test_another_version_is_refused(cluster):
    package = JobPackage.of(LabelerJob(whole), cloudpickle.dumps)
    with RayWorkers(JobPackage(package.job, package.path, "0.0.1")) as workers:
        workers.start()
        (broken,) = wait_for(workers)
    assert isinstance(broken, Broken) and "install the same version on every machine" in broken.error


class ElsewhereJob(LabelerJob):
    """Works in another folder than the driver."""

    def work(self, extractor: object = None) -> LabelWork:
        os.chdir("/")
        return super().work()


def test_images_that_an_actor_does_not_see(cluster, task, tmp_path, monkeypatch):
    made = task(0)
    monkeypatch.chdir(tmp_path)
    nowhere, here = (Task(made.entry, Path(folder) / made.file.name) for folder in ("nowhere", "images"))
    with RayWorkers(JobPackage.of(ElsewhereJob(whole), cloudpickle.dumps)) as workers:
        worker = workers.start()
        wait_for(workers)
        workers.give(worker, nowhere)
        (done,) = wait_for(workers)
        assert isinstance(done, Done) and done.outcome.kind == "decode"
        workers.give(worker, here)
        (broken,) = wait_for(workers)
        assert isinstance(broken, Broken) and "does not see images, as this machine does" in broken.error


def test_actors_wait_for_a_cpu_and_the_log_says_so(cluster, task, caplog, monkeypatch):
    monkeypatch.setattr(supervisor, "PATIENCE_S", 0.5)

    @ray.remote(num_cpus=2)
    class Other:
        def __ray_ready__(self) -> bool:
            return True

    other = Other.remote()
    ray.get(other.__ray_ready__.remote())
    with RayExecutor(None, 2).session(LabelerJob(whole)) as session:
        session.submit(0, task(0))
        assert session.collect(2.0) is None
        assert [record.message for record in caplog.records if "ready yet" in record.message] == [
            "no worker is ready yet; the run goes on when one is; 0 of 2 CPUs and 0 of 0 GPUs of the cluster are free"
        ]
        ray.kill(other)
        assert session.collect(60.0) is not None


def test_the_callers_connection_stays_as_it_is(cluster, task):
    @ray.remote(num_cpus=0)
    class Mine:
        def value(self) -> int:
            return 3

    mine, handler = Mine.remote(), signal.getsignal(signal.SIGTERM)
    with RayExecutor("auto", 1).session(LabelerJob(whole)) as session:
        do(session, [task(0)])
    assert ray.get(mine.value.remote()) == 3
    assert signal.getsignal(signal.SIGTERM) is handler
    with (
        pytest.raises(
            ValueError, match=f"connected to the Ray cluster at {cluster.address} already, got '127.0.0.1:1'"
        ),
        RayExecutor("127.0.0.1:1").session(LabelerJob(whole)),
    ):
        pass


class OutOfMemoryError(RuntimeError):
    """As torch has one."""


class Colours:
    """Gives the mean colour of an image; goes wrong for some widths."""

    def extract(self, images: Sequence[Image], *, size: int | None = None) -> list[PatchFeatures]:
        (image,) = images
        match image.shape[0]:
            case 41:
                raise OutOfMemoryError("CUDA out of memory")
            case 42:
                raise RuntimeError("CUDA error: device-side assert triggered")
            case 43:
                os._exit(1)
        mean_hwC = image.astype(np.float32).mean(axis=(0, 1), keepdims=True)
        return [PatchFeatures(mean_hwC, 1, (image.shape[0], image.shape[1]))]


@dataclass(frozen=True)
class Brighter:
    """One mask, of what is brighter than the features say."""

    extractor: Colours

    def __call__(self, image: Image) -> MaskSet:
        (features,) = self.extractor.extract([image])
        features.feats_hwC[:] += 0  # an array as any other, not one that cannot be written
        return MaskSet.from_arrays((image > features.feats_hwC).all(axis=2)[None], source=str(os.getpid() > 0))


@dataclass(frozen=True)
class SharingJob:
    """Few extractors for many workers, without a GPU."""

    shares_extractor: bool = True

    def devices(self) -> tuple[str, ...]:
        return ("cpu",)

    def extractor(self, device: str) -> Colours:
        return Colours()

    def work(self, extractor: Colours | None = None) -> LabelWork:
        return LabelWork(Brighter(extractor or Colours()), 10**6)


def test_who_finds_no_extractor_alive_gives_its_task_back_lives_on_and_waits_for_one(cluster, task):
    package = JobPackage.of(SharingJob(), cloudpickle.dumps)
    with RayWorkers(package, 1) as workers:
        worker = workers.start()
        assert wait_for(workers) == [Ready(worker)]
        assert workers.shortage().endswith("CPUs and 0 of 0 GPUs of the cluster are free")
        pid = workers.infos[worker].pid
        (extractor,) = workers._extractors.ready
        ray.kill(extractor)
        workers.give(worker, task(0))
        gave_back, ready = wait_for(workers, 2)
        assert isinstance(gave_back, GaveBack) and gave_back.lost.blameless and ready == Ready(worker)
        workers.give(worker, task(0))
        (done,) = wait_for(workers)
        assert isinstance(done, Done) and isinstance(done.outcome, Labelled)
        assert workers.infos[worker].pid == pid


@pytest.mark.parametrize("fatal", [43, pytest.param(42, marks=pytest.mark.slow)], ids=["exit", "cuda"])
def test_one_extractor_serves_many_and_is_replaced_when_it_dies(cluster, task, fatal):
    heights = [GOOD_HEIGHT] * 10
    heights[2:7:2] = 41, fatal, 41
    tasks = [task(key, height) for key, height in enumerate(heights)]
    with RayExecutor(None, 2, gpus_per_actor=0).session(SharingJob()) as session:
        results = do(session, tasks)
    memory, lost, again = (results.pop(key) for key in (2, 4, 6))
    assert memory.kind == "memory" and memory.error.startswith("MemoryError: CUDA out of memory")
    assert (lost.reason, lost.blameless) == ("left without features: the process that extracted them died", False)
    assert isinstance(again, Failed) or again.blameless
    inline = SharingJob().work()
    for key, result in results.items():  # who only waited in line is not to blame
        assert result.blameless if isinstance(result, Lost) else result.row == inline(tasks[key]).row


def test_features_are_extracted_on_gpus_and_a_cluster_without_any_is_refused(cluster):
    refused = pytest.raises(ValueError, match=r"the Ray cluster has 0: take extractor\.device=cpu")
    with refused, RayExecutor(None, 1).session(SharingJob()):
        pass
    assert num_extractors([4, 0, 1], 1.0) == 5
    assert num_extractors([4, 0, 1], 2.0) == 2
    assert num_extractors([1], 0.3) == 3
    assert num_extractors([], 0) == 1


def test_options():
    for arguments, complaint in (
        ({"num_workers": 0}, "num_workers must be at least 1, got 0"),
        ({"timeout_s": -1.0}, "timeout_s must be at least 0, got -1"),
        ({"gpus_per_actor": 1.5}, "gpus_per_actor must be a share of a GPU or a whole number, got 1.5"),
        ({"address": "nonsense"}, "must be local, auto or HOST:PORT, got 'nonsense'"),
        ({"address": "ray://head:10001"}, "Ray Client is not supported: run this on a machine of the cluster"),
    ):
        with pytest.raises(ValueError, match=complaint):
            RayExecutor(**arguments)
    assert RayExecutor(timeout_s=0).timeout_s is None


# The cluster looks for a lost machine for a while, and may place actors there: what needs it whole comes before.


@pytest.mark.slow
@pytest.mark.parametrize("graceful", [True, False])
def test_a_lost_machine_is_nobodys_fault(cluster, task, graceful):
    node = cluster.add_node(num_cpus=1)
    with workers_of(labelers.hang) as workers:
        numbers = {workers.start() for _ in range(3)}
        wait_for(workers, 3)
        for worker in numbers:
            workers.give(worker, task(worker))
        (there,) = (worker for worker, info in workers.infos.items() if info.node == node.node_id)
        cluster.remove_node(node, allow_graceful=graceful)
        (died,) = wait_for(workers)
        assert isinstance(died, Died) and died.worker == there
        assert died.lost.blameless and died.lost.reason.startswith("lost with its machine")


def test_a_run_goes_on_when_a_machine_is_lost(cluster, task, tmp_path):
    for key in range(45):
        task(key)
    node = cluster.add_node(num_cpus=1)
    attempts = tmp_path / "attempts.txt"

    def lose() -> None:
        while len(begun(attempts)) < 15:
            time.sleep(0.02)
        cluster.remove_node(node, allow_graceful=False)

    thread = threading.Thread(target=lose)
    thread.start()
    job = LabelerJob(FaultyLabeler(attempts, 0.1))
    summary, shards = label(tmp_path / "images", tmp_path / "out", job, RayExecutor(None, 3, timeout_s=60))
    thread.join()
    assert (summary.labelled, summary.failed) == (45, 0)
    assert len(begun(attempts)) <= 46
    quick = LabelerJob(FaultyLabeler(tmp_path / "other attempts.txt", 0.0))
    assert label(tmp_path / "images", tmp_path / "inline", quick)[1] == shards


A_RUN_OF_ITS_OWN = """
import json, os, signal, sys, time
sys.path[:0] = json.loads(sys.argv[1])
from pathlib import Path
import labelers
from test_cluster import label
from dico.cluster.executor import RayExecutor
from dico.job import LabelerJob

before, environment = signal.getsignal(signal.SIGTERM), dict(os.environ)
try:
    with RayExecutor("127.0.0.1:1").session(LabelerJob(labelers.whole)):
        pass
except ConnectionError as error:
    print("refused", str(error)[:41])
others = {40: labelers.chat, 41: labelers.leave}
started = time.monotonic()
summary, _ = label(Path(sys.argv[2]), Path(sys.argv[3]), LabelerJob(labelers.ByHeight(others)), RayExecutor(None, 2))
environment["RAY_AUTH_MODE"] = os.environ["RAY_AUTH_MODE"]
print(summary.labelled, summary.failed, signal.getsignal(signal.SIGTERM) is before, dict(os.environ) == environment)
again, _ = label(Path(sys.argv[2]), Path(sys.argv[3] + " again"), LabelerJob(labelers.whole), RayExecutor(None, 1))
print("again", again.labelled)
"""


def processes_with(variable: str) -> set[int]:
    """Processes in whose environment there is a variable, and so all that one with it started."""
    found = set()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdecimal() and variable.encode() in (entry / "environ").read_bytes():
                found.add(int(entry.name))
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")
def test_a_cluster_of_its_own_is_quiet_and_leaves_nothing_behind(task, tmp_path):
    for key, height in enumerate([GOOD_HEIGHT] * 6 + [40, 41]):
        task(key, height)
    path = json.dumps([entry for entry in sys.path if entry])
    arguments = [sys.executable, "-c", A_RUN_OF_ITS_OWN, path, str(tmp_path / "images"), str(tmp_path / "out")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    mark = f"DICO_TEST_RUN={uuid.uuid4().hex}"
    environment.update([mark.split("="), ("HOME", str(tmp_path / "home"))])
    (tmp_path / "home").mkdir()
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as run:
        most = 0
        while run.poll() is None:
            most = max(most, len(processes_with(mark)))
            time.sleep(0.1)
        stdout, stderr = run.communicate()
    assert stdout == "refused no Ray cluster answers at 127.0.0.1:1: `r\n7 1 True True\nagain 8\n", stderr
    assert list((tmp_path / "home").iterdir()) == []  # no token, which would change how other clusters are joined
    assert [line for line in stderr.splitlines() if "worker" not in line] == []
    assert most >= 5  # this, the daemons and the actors: it is the right mark
    until = time.monotonic() + 30
    while left := processes_with(mark):
        assert time.monotonic() < until, f"still there: {left}"
        time.sleep(0.1)
