"""The loader: the same stream whatever reads it, and images that cannot be used."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
from contextlib import closing
from itertools import islice

import numpy as np
import PIL.Image
import pytest
import torch

from dico.masks import MaskSet
from tests.conftest import draw
from tests.stores import make_store
from tests.waiting import wait_for
from training.config import DataConfig
from training.data.catalog import open_source
from training.data.loader import DataError, TrainLoader
from training.data.mapper import Mapper
from training.data.randomness import Order
from training.data.sources import StoreSource

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more processes than cores
CONFIG = DataConfig(image_size=48, scale=(0.5, 2.0), max_masks=3, min_area_px=2, colour=0.2)


def write_store(folder, count, *, broken=(), missing=(), other_size=()):
    """A store of drawn images, some of which cannot be used."""
    folder.mkdir(exist_ok=True)
    labels = {}
    for i in range(count):
        name, image = f"{i:02d}.png", draw(i, (40, 50))
        grey_HW = image.mean(axis=2)
        masks_NHW = (
            np.stack([grey_HW > level for level in (60, 90, 120, 150)][: i % 5]) if i % 5 else np.zeros((0, 40, 50))
        )
        labels[name] = MaskSet.from_arrays(masks_NHW) if i not in other_size else MaskSet.empty((7, 7))
        if i in broken:
            (folder / name).write_bytes(b"no image")
        elif i not in missing:
            PIL.Image.fromarray(image).save(folder / name)
    return StoreSource(make_store(folder, labels).path)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("photos"), 7, broken=(2,), missing=(5,))


def loader(source, **options):
    options = {"batch_size": 3, "max_skipped": 3, "seed": 4, **options}
    return TrainLoader(source, Mapper(CONFIG, options["seed"]), **options)


def take(count, source, start_step=0, **options):
    reader = loader(source, **options)
    with closing(reader.batches(start_step)) as batches:
        taken = list(islice(batches, count))
    assert multiprocessing.active_children() == []
    return taken, reader


def flat(batches):
    """Every sample of some batches as plain values."""
    return [
        (
            batch.positions[b],
            batch.keys[b],
            *(
                part[..., : batch.sizes_hw[b][0], : batch.sizes_hw[b][1]].numpy().tobytes()
                for part in (batch.images_BCHW[b], batch.targets[b].masks_NHW)
            ),
        )
        for batch in batches
        for b in range(len(batch))
    ]


@pytest.fixture(scope="module")
def expected(source):
    return flat(take(6, source)[0])


def test_batches_have_what_the_mapper_gives(source, expected):
    order, mapper = Order(7, seed=4), Mapper(CONFIG, seed=4)
    for position, key, image, masks in expected:
        following = (source[order[p]] for p in range(position, position + 9))
        usable = next(record for record in following if record.key not in ("02.png", "05.png"))
        sample = mapper(usable, position)
        assert (sample.key, sample.position) == (key, position)
        assert sample.image_CHW.contiguous().numpy().tobytes() == image and sample.masks_NHW.numpy().tobytes() == masks
    assert [position for position, *_ in expected] == list(range(18))
    assert len({masks for *_, masks in expected}) > 8 and len({image for _, _, image, _ in expected}) == 18


@pytest.mark.parametrize("workers", [1, 3])
def test_processes_do_not_change_what_is_read(source, expected, workers):
    batches, reader = take(6, source, workers=workers)
    assert flat(batches) == expected
    assert {skipped.key for skipped in reader.skipped} == {"02.png", "05.png"}


def test_ranks_share_what_one_would_read(source, expected):
    ranks = [take(3, source, rank=rank, world_size=2)[0] for rank in range(2)]
    assert flat(batch for both in zip(*ranks, strict=True) for batch in both) == expected


@pytest.mark.parametrize("workers", [0, 2])
def test_a_later_start_gives_the_rest(source, expected, workers):
    assert flat(take(2, source, start_step=4, workers=workers)[0]) == expected[12:]


def test_another_seed_gives_other_samples(source, expected):
    assert flat(take(6, source, seed=5)[0]) != expected


def test_an_epoch_is_a_permutation_and_the_next_is_another():
    order = Order(50, seed=1)
    epochs = [[order[50 * epoch + i] for i in range(50)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] and [order[i] for i in range(50)] == epochs[0]
    assert [Order(50, seed=2)[i] for i in range(50)] != epochs[0]


def test_what_cannot_be_used_is_said_once(source, caplog):
    with caplog.at_level(logging.WARNING):
        _, reader = take(12, source)
    assert sorted(skipped.key for skipped in reader.skipped) == ["02.png", "05.png"]
    reasons = {skipped.key: str(skipped) for skipped in reader.skipped}
    assert "02.png is not an image that is read" in reasons["02.png"]
    assert "05.png does not exist; check the path" in reasons["05.png"]
    assert len(caplog.records) == 2 and all("an image is passed over" in line for line in caplog.messages)


@pytest.mark.parametrize("workers", [0, 1])
def test_too_many_unusable_images_end_it(source, workers):
    with pytest.raises(
        DataError, match=r"2 images of .* cannot be used, more than data\.max_skipped=1; mend .*\n.*png"
    ):
        take(12, source, max_skipped=1, workers=workers)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("max_skipped", [0, 2, 100])
def test_no_usable_image_at_all(tmp_path, max_skipped):
    broken = write_store(tmp_path / "photos", 3, missing=(0, 1, 2))
    expected = "1 images of" if max_skipped == 0 else r"none of the 3 images of .* can be used:\n.*does not exist"
    with pytest.raises(DataError, match=expected):
        take(1, broken, max_skipped=max_skipped)


def test_masks_of_another_size_are_passed_over(tmp_path):
    reader = take(4, write_store(tmp_path / "photos", 4, other_size=(1,)))[1]
    (skipped,) = reader.skipped
    assert "01.png has (40, 50) pixels (H, W), but its masks have (7, 7)" in str(skipped)


def test_damaged_masks_are_passed_over(tmp_path):
    images = [{"id": i, "file_name": f"{i}.png", "height": 40, "width": 50} for i in (1, 2)]
    damaged = {"id": 9, "image_id": 1, "segmentation": {"size": [40, 50], "counts": "00"}}
    (tmp_path / "a.json").write_text(json.dumps({"images": images, "annotations": [damaged]}))
    for i in (1, 2):
        PIL.Image.fromarray(draw(i, (40, 50))).save(tmp_path / f"{i}.png")
    batches, reader = take(2, open_source(str(tmp_path / "a.json")))
    assert {key for batch in batches for key in batch.keys} == {"2"} and len(batches[0].targets[0]) == 0
    assert "image 1 of" in str(reader.skipped[0]) and "annotation 9 is damaged" in str(reader.skipped[0])


def test_no_images(tmp_path):
    failed = StoreSource(make_store(tmp_path, {"a.jpg": "decode", "b.jpg": None}).path)
    with pytest.raises(DataError, match="has no images to learn from"):
        loader(failed)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"workers": -1}, "workers must be at least 0, got -1"),
        ({"max_skipped": -1}, "max_skipped must be at least 0"),
        ({"rank": 2, "world_size": 2}, "rank must be from 0 to world_size - 1 = 1, got 2"),
    ],
)
def test_numbers_out_of_range(source, options, message):
    with pytest.raises(ValueError, match=message):
        loader(source, **options)


def test_an_error_of_the_consumer_ends_the_processes(source):
    with pytest.raises(RuntimeError, match="NaN"), closing(loader(source, workers=2).batches()) as batches:
        for _ in batches:
            assert len(multiprocessing.active_children()) == 2
            raise RuntimeError("NaN")
    assert multiprocessing.active_children() == []


def test_reading_leaves_the_random_numbers_of_the_process_alone(source):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    take(1, source)
    assert torch.equal(torch.get_rng_state(), before)


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


READS_FOR_EVER = """
import multiprocessing, os, signal, sys
from contextlib import closing
from pathlib import Path
from training.config import DataConfig
from training.data.loader import TrainLoader
from training.data.mapper import Mapper
from training.data.sources import StoreSource

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are started to ignore it
    reader = TrainLoader(StoreSource(Path(sys.argv[1])), Mapper(DataConfig(image_size=64), 0), batch_size=2, workers=2)
    with closing(reader.batches()) as batches:
        next(batches)
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
        for batch in batches:
            pass
"""


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_no_process_is_left_behind(source, tmp_path, end):
    script = tmp_path / "read.py"
    script.write_text(READS_FOR_EVER)
    command = [sys.executable, str(script), str(source.name)]
    errors = tmp_path / "errors.txt"
    with (
        open(errors, "w") as stream,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stream, text=True, start_new_session=True) as process,
    ):
        workers = [int(pid) for pid in process.stdout.readline().split()]
        assert len(workers) == 2 and all(is_running(pid) for pid in workers)
        if end == signal.SIGINT:
            os.killpg(process.pid, end)  # as a terminal does: every process gets it
        else:
            process.send_signal(end)
        process.stdout.close()
        wait_for(lambda: process.poll() is not None)
    wait_for(lambda: not any(is_running(pid) for pid in workers))
    assert errors.read_text().count("KeyboardInterrupt") == (1 if end == signal.SIGINT else 0), errors.read_text()
