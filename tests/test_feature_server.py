"""Extractors that many workers share: the same features, the same rows, and an error for who caused it."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection

import numpy as np
import PIL.Image
import pytest
from conftest import draw
from labelers import FarJob, SharingJob
from waiting import wait_for

from dico.config import PipelineConfig, load_config
from dico.executors import InlineExecutor, Session, WorkerError
from dico.executors.feature_server import FeatureServer, device_is_lost
from dico.executors.pool import PoolExecutor
from dico.executors.remote_extractor import RemoteExtractor
from dico.features.base import PatchFeatures
from dico.features.devices import visible_devices
from dico.features.presized import Presized
from dico.features.weights import CheckpointError
from dico.image import Image
from dico.job import Job, PipelineJob
from dico.store import ImageEntry
from dico.task import Labelled, Task

torch = pytest.importorskip("torch", reason="needs torch: pip install torch transformers")
pytest.importorskip("transformers", reason="needs transformers: pip install torch transformers")

from dico.features.vit import VitExtractor  # noqa: E402
from tests.reference.vit import Shape, random_official  # noqa: E402

SETTINGS = (
    "extractor.name=dino",
    "extractor.size=64",
    "extractor.batch_size=3",
    "divide.max_masks=4",
    "divide.tau=0.3",
    "conquer.parts=true",
    "conquer.crop_size=48",
    "conquer.min_patches=1",
    "conquer.min_inside=0.3",
    "conquer.thetas=[0.99, 0.97, 0.95, 0.9, 0.8]",
    "conquer.whole_image=thresholds",
)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> PipelineConfig:
    """Divide, parts and regions on a small DINO without training."""
    path = tmp_path_factory.mktemp("weights") / "official.pth"
    torch.save(random_official(Shape(width=128)), path)
    return load_config(None, [*SETTINGS, f"extractor.weights={path}"])


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> list[Task]:
    folder = tmp_path_factory.mktemp("images")
    made = []
    for key in range(8):
        PIL.Image.fromarray(draw(key, (90 - 5 * key, 60 + 7 * key))).save(folder / f"{key}.png")
        made.append(Task(ImageEntry(key, f"{key}.png", 1), folder / f"{key}.png"))
    return made


class Extractor:
    """Features that show what it was asked; refuses images of some widths."""

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self.threads: set[str] = set()

    def extract(self, images: Sequence[Image], *, size: int | None = None) -> list[PatchFeatures]:
        self.threads.add(threading.current_thread().name)
        found = []
        for image in images:
            if image.shape[1] in REFUSED:
                raise REFUSED[image.shape[1]]
            feats_hwC = np.full((1, 2, 3), image.mean(), dtype=np.float32)
            found.append(PatchFeatures(feats_hwC, size or 0, (image.shape[0], image.shape[1])))
        return found


class OutOfMemoryError(RuntimeError):
    """As torch has one."""


class OddError(Exception):
    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} and {other}")


class OddPlainError(ValueError): ...


OddPlainError.__module__ = "builtins"  # says it is plain, and cannot be pickled

REFUSED = {
    20: ValueError("size must be a multiple of the patch"),
    21: OutOfMemoryError("CUDA out of memory"),
    22: OddError(1, 2),
    23: OSError(5, "Input/output error"),
    24: OddPlainError("odd"),
}


@dataclass(frozen=True)
class Extractors:
    """A job that shares these."""

    made: tuple[Extractor, ...]
    shares_extractor: bool = True

    def devices(self) -> tuple[str, ...]:
        return tuple(extractor.device for extractor in self.made)

    def extractor(self, device: str) -> Extractor:
        return next(extractor for extractor in self.made if extractor.device == device)


@pytest.fixture
def client() -> Iterator[RemoteExtractor]:
    with FeatureServer(Extractors((Extractor(),))) as server:
        connection = Connection(server.connect())
        yield RemoteExtractor(connection)
        connection.close()


def grey(width: int, value: int = 9) -> Image:
    return np.full((4, width, 3), value, dtype=np.uint8)


def rows(session: Session, tasks: list[Task]) -> dict[int, bytes]:
    for key, task in enumerate(tasks):
        session.submit(key, task)
    collected = dict(result for _ in tasks if (result := session.collect(60.0)) is not None)
    assert all(isinstance(outcome, Labelled) for outcome in collected.values()), collected
    return {key: outcome.row for key, outcome in collected.items()}


def test_any_number_of_workers_and_extractors_gives_the_same_bytes(config, tasks):
    with InlineExecutor().session(PipelineJob(config)) as session:
        expected = rows(session, tasks)
    assert sum(b"conquer" in row for row in expected.values()) >= 4  # crops took part
    for num_workers, num_devices in [(1, 1), (2, 1), (3, 2)]:
        with PoolExecutor(num_workers).session(SharingJob(config, num_devices)) as session:
            assert rows(session, tasks) == expected


def test_missing_weights_end_the_run_before_a_worker_starts(config):
    job = SharingJob(replace(config, extractor=replace(config.extractor, weights="/nowhere/dino.pth")))
    with pytest.raises(CheckpointError, match="there is no such file"), PoolExecutor(1).session(job):
        pytest.fail("the session began")


def test_the_features_are_the_extractors_own_in_order(client):
    images = [grey(5, 10), grey(6, 30)]
    for size in (None, 7):
        for found, expected in zip(
            client.extract(images, size=size), Extractor().extract(images, size=size), strict=True
        ):
            assert (found.stride, found.size_hw) == (expected.stride, expected.size_hw)
            np.testing.assert_array_equal(found.feats_hwC, expected.feats_hwC)
    assert client.extract([]) == []


def test_more_than_a_pipe_holds_in_both_directions(client):
    images = [np.full((1000, 1000, 3), value, dtype=np.uint8) for value in range(8)]
    found = client.extract([image[::2, ::2] for image in images])
    assert [features.feats_hwC[0, 0, 0] for features in found] == list(range(8))


@pytest.mark.parametrize(
    ("width", "kind", "message"),
    [
        (20, ValueError, "size must be a multiple of the patch"),
        (21, MemoryError, "CUDA out of memory; a smaller extractor.batch_size or extractor.size needs less"),
        (22, RuntimeError, "test_feature_server.OddError: 1 and 2"),
        (23, OSError, "[Errno 5] Input/output error"),
        (24, RuntimeError, "OddPlainError: odd"),
    ],
)
def test_an_error_is_that_of_the_image_that_caused_it(client, width, kind, message):
    assert len(client.extract([grey(5)])) == 1
    with pytest.raises(kind) as raised:
        client.extract([grey(5), grey(width)])
    assert type(raised.value) is kind and str(raised.value) == message
    assert "where features are extracted:\nTraceback" in raised.value.__notes__[0]
    assert len(client.extract([grey(5)])) == 1


def test_clients_spread_over_the_extractors_and_go(config):
    extractors = Extractor("one"), Extractor("two")
    with FeatureServer(Extractors(extractors)) as server:
        connections = [Connection(server.connect()) for _ in range(4)]
        for connection in connections:
            RemoteExtractor(connection).extract([grey(5)])
        assert [thread.num_clients for thread in server._threads] == [2, 2]
        for connection in connections[::2]:
            connection.close()  # those of one extractor, as when their workers died
        wait_for(lambda: not server._threads[0].num_clients)
        newcomers = [Connection(server.connect()) for _ in range(2)]
        assert [thread.num_clients for thread in server._threads] == [2, 2]
        for connection in [*newcomers, *connections[1::2]]:
            assert len(RemoteExtractor(connection).extract([grey(5)])) == 1
            connection.close()
    assert [extractor.threads for extractor in extractors] == [{"features on one"}, {"features on two"}]


def test_who_dies_while_it_is_answered_disturbs_nobody():
    with FeatureServer(Extractors((Extractor(),))) as server:
        dying, living = (Connection(server.connect()) for _ in range(2))
        os.write(dying.fileno(), struct.pack("!i", 10**6) + b"the beginning of a million bytes")
        dying.close()
        assert len(RemoteExtractor(living).extract([grey(5)])) == 1
        living.close()


LOST = (
    "CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously reported",
    "CUDA error: an illegal memory access was encountered",
    "cuBLAS: CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`",
)
KEPT = (
    "CUDA error: out of memory",
    "CUDA out of memory. Tried to allocate 2.00 GiB",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "size must be a multiple of the patch",
)


def test_which_errors_take_the_device_with_them():
    assert [device_is_lost(RuntimeError(message)) for message in LOST] == [True] * len(LOST)
    assert [device_is_lost(RuntimeError(message)) for message in KEPT] == [False] * len(KEPT)


def results_until_the_end(session: Session, tasks: list[Task]) -> list[object]:
    """Whatever the tasks come to before the session ends with a WorkerError, and that."""
    results: list[object] = []
    for key, task in enumerate(tasks):
        session.submit(key, task)
    try:
        while len(results) < len(tasks):
            collected = session.collect(60.0)
            assert collected is not None
            results.append(collected[1])
    except WorkerError as error:
        results.append(error)
    return results


@pytest.mark.parametrize(("num_workers", "after", "count"), [(1, 3, 8), (3, 3, 8), (2, 0, 1)])
def test_a_lost_device_ends_the_session_and_no_image_is_blamed(tasks, num_workers, after, count):
    with PoolExecutor(num_workers).session(FarJob(RuntimeError(LOST[0]), after)) as session:
        *labelled, end = results_until_the_end(session, tasks[:count])
    assert str(end) == (
        "cuda:7 is of no more use to this process (CUDA error: device-side assert triggered);"
        " the same command goes on where this one stopped"
    )
    assert len(labelled) <= after and all(isinstance(outcome, Labelled) for outcome in labelled)


def test_a_thread_that_ends_ends_the_session_with_its_story_and_no_image_is_blamed(tasks):
    with PoolExecutor(2).session(FarJob(SystemExit("of no class that anyone expects"), after=2)) as session:
        *labelled, end = results_until_the_end(session, tasks)
    assert "the thread that extracts features on cuda:7 ended:\nTraceback" in str(end)
    assert str(end).endswith("SystemExit: of no class that anyone expects")
    assert all(isinstance(outcome, Labelled) for outcome in labelled)


def test_who_comes_after_the_end_of_the_thread_hears_why():
    job = FarJob(RuntimeError(LOST[1]), after=0)
    with FeatureServer(job) as server:
        connection = Connection(server.connect())
        with pytest.raises(SystemExit, match="the feature server is gone"):
            RemoteExtractor(connection).extract([grey(5)])
        connection.close()
        with pytest.raises(WorkerError, match="illegal memory access"):
            server.check()
        with pytest.raises(WorkerError, match="illegal memory access"):
            server.connect()


def test_without_a_server_the_worker_ends():
    with FeatureServer(Extractors((Extractor(),))) as server:
        connection = Connection(server.connect())
    with pytest.raises(SystemExit, match="the feature server is gone"):
        RemoteExtractor(connection).extract([grey(5)])
    connection.close()


@pytest.mark.parametrize("size", [None, 32])
def test_resizing_first_changes_nothing(config, size):
    extractor = VitExtractor(config.extractor)
    images = [draw(0, (50, 41)), draw(1, (64, 64)), draw(2, (130, 70))]
    for found, expected in zip(
        Presized(extractor, config.extractor.size).extract(images, size=size),
        extractor.extract(images, size=size),
        strict=True,
    ):
        assert (found.stride, found.size_hw) == (expected.stride, expected.size_hw)
        np.testing.assert_array_equal(found.feats_hwC, expected.feats_hwC)


def test_only_squares_travel(config):
    seen: list[tuple[int, ...]] = []

    class Far(Extractor):
        def extract(self, images: Sequence[Image], *, size: int | None = None) -> list[PatchFeatures]:
            seen.extend(image.shape for image in images)
            return super().extract(images, size=size)

    (features,) = PipelineJob(config).work(Far()).labeler.extractor.extract([draw(0, (300, 200))])
    assert seen == [(64, 64, 3)]
    assert features.size_hw == (300, 200)


def test_devices(monkeypatch):
    assert visible_devices("cuda:1") == ("cuda:1",)
    assert visible_devices("mps") == ("mps",)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert visible_devices("cuda") == ("cuda:0", "cuda:1", "cuda:2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert visible_devices("cuda") == ("cuda",)


def test_who_shares(config):
    def shares(**changes: str) -> bool:
        job: Job = PipelineJob(replace(config, extractor=replace(config.extractor, **changes)))
        return job.shares_extractor

    assert shares(device="cuda") and shares(device="cuda:1")
    assert not shares(device="cpu") and not shares(device="cuda", name="classical", weights="")
