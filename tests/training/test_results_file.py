from __future__ import annotations

import json
import pickle
import tracemalloc

import numpy as np
import pytest
from pycocotools import mask as coco_rle

from dico.ground_truth import AnnotatedImage
from dico.masks import MaskSet
from training.evaluation.answers import results_index
from training.evaluation.answers.results import ResultsAnswers
from training.evaluation.answers.results_index import index_results

SIZE_HW = (20, 30)


def image(image_id, size_hw=SIZE_HW):
    return AnnotatedImage(image_id, f"{image_id}.jpg", size_hw, ())


def box(x0, y0, x1, y1):
    mask_HW = np.zeros(SIZE_HW, dtype=np.uint8)
    mask_HW[y0:y1, x0:x1] = 1
    return mask_HW


def compressed(mask_HW):
    rle = coco_rle.encode(np.asfortranarray(mask_HW))
    return {"size": list(SIZE_HW), "counts": rle["counts"].decode("ascii")}


def uncompressed(mask_HW):
    flat = mask_HW.T.ravel()
    borders = np.flatnonzero(np.diff(np.concatenate([[0], flat])))
    return {"size": list(SIZE_HW), "counts": np.diff([0, *borders, flat.size]).tolist()}


def entry(image_id, segmentation, score=0.5, **others):
    return {"image_id": image_id, "category_id": 1, "segmentation": segmentation, "score": score, **others}


def write(path, entries, **options):
    path.write_text(json.dumps(entries, **options), encoding="utf-8")
    return path


def test_every_way_to_write_a_mask(tmp_path):
    """A polygon covers what pycocotools says: its box, for a box."""
    one, other = box(2, 3, 12, 9), box(5, 0, 6, 20)
    polygon = [[2, 3, 12, 3, 12, 9, 2, 9]]
    entries = [entry(7, compressed(one), 0.1), entry(7, uncompressed(other), 0.9), entry(7, polygon, 0.3, level=2)]
    masks = ResultsAnswers(write(tmp_path / "r.json", entries), [image(7)]).masks(image(7), None)
    assert masks.score.tolist() == pytest.approx([0.9, 0.3, 0.1]) and masks.level.tolist() == [0, 2, 0]
    assert masks.rles[1] == masks.rles[2]
    assert (masks.decode()[0] == other).all() and (masks.decode()[2] == one).all()


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("read_bytes", [1, 7, 1 << 20])
def test_entries_in_any_order_and_in_parts_of_any_size(tmp_path, monkeypatch, indent, read_bytes):
    monkeypatch.setattr(results_index, "READ_BYTES", read_bytes)
    boxes = {5: [box(0, 0, 4, 4), box(1, 1, 9, 9)], 3: [box(2, 2, 4, 4)], 900: [box(3, 3, 20, 19)]}
    pairs = [(image_id, mask_HW) for image_id, masks in boxes.items() for mask_HW in masks]
    order = [3, 0, 2, 1]
    entries = [entry(pairs[i][0], compressed(pairs[i][1]), note='caf\u00e9 [{\\"') for i in order]
    path = write(tmp_path / "r.json", entries, indent=indent, ensure_ascii=False)
    answers = ResultsAnswers(path, [image(image_id) for image_id in (3, 4, 5, 900)])
    for image_id, masks in boxes.items():
        assert (answers.masks(image(image_id), None).decode() == np.stack(masks)).all()
    assert len(answers.masks(image(4), None)) == 0  # tools write nothing where they find nothing
    again = pickle.loads(pickle.dumps(answers))
    assert again.masks(image(5), None) == answers.masks(image(5), None)


def test_of_equal_scores_the_earlier_goes_first_and_close_ones_are_told_apart(tmp_path):
    scores = [0.5, 0.5 + 1e-12, 0.5]  # one number, as float32
    entries = [entry(1, compressed(box(i, 0, i + 1, 5)), score) for i, score in enumerate(scores)]
    masks = ResultsAnswers(write(tmp_path / "r.json", entries), [image(1)]).masks(image(1), None)
    assert [mask_HW.any(axis=0).argmax() for mask_HW in masks.decode()] == [1, 0, 2]


def test_what_is_in_memory_does_not_grow_with_the_file(tmp_path):
    """20 bytes a mask are kept, and twice that while they are ordered; the file has 100 times as many."""
    path, count = tmp_path / "r.json", 10_000
    filler = {"size": [1, 9_000_000], "counts": "0" * 2000}
    with open(path, "w") as stream:
        stream.write("[")
        for number in range(count):
            stream.write(("," if number else "") + json.dumps(entry(number % 100, filler)))
        stream.write("]")
    tracemalloc.start()
    index = index_results(path)
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(index) == count and path.stat().st_size > 20e6
    assert held < 25 * count and most < 100 * count + 16 * results_index.READ_BYTES


GOOD = entry(1, {"size": [2, 2], "counts": "04"})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "must be a results file, a JSON array"),
        ('{"annotations": []}', "must be a results file, a JSON array"),
        ("[3]", "entry 0 .counted from 0; at byte 1. is no object but 3; write entries such as"),
        (json.dumps([GOOD, {"image_id": 1}]), "entry 1 .* has no segmentation and no score"),
        (json.dumps([{**GOOD, "image_id": "a"}]), "entry 0 .* has an image_id that is no int64: 'a'"),
        (
            json.dumps([{**GOOD, "image_id": 1 << 63}]),
            "entry 0 .* has an image_id that is no int64: 92",
        ),
        (json.dumps([{**GOOD, "score": None}]), "entry 0 .* has a score that is no float32: None"),
        (json.dumps([{**GOOD, "score": 1e39}]), "entry 0 .* has a score that is no float32: 1e"),
        (json.dumps([{**GOOD, "score": 10**400}]), "entry 0 .* has a score that is no float32: 1000"),
        (json.dumps([{**GOOD, "score": float("nan")}]), "entry 0 .* has a score that is no float32: nan"),
        (json.dumps([GOOD, GOOD])[:-30], r"entry 1 .* is damaged or cut off .*; write the file again"),
        (json.dumps([GOOD, GOOD])[:-1], "entry 1 .* is the last, and the array has no end; write the file again"),
        (json.dumps([GOOD]).replace("}]", "} x]"), "entry 0 .* is followed by 'x'; write the file again"),
    ],
)
def test_damaged_files_name_entry_and_remedy(tmp_path, text, complaint):
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"r.json.*{complaint}"):
        index_results(path)


def test_an_entry_without_an_end_is_not_read_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(results_index, "LONGEST_ENTRY", 5_000)
    monkeypatch.setattr(results_index, "READ_BYTES", 1_000)
    path = tmp_path / "r.json"
    path.write_text(json.dumps([GOOD])[:-1] + ', {"image_id": "' + "a" * 100_000)
    with pytest.raises(ValueError, match=r"entry 1 .* is damaged or cut off"):
        index_results(path)


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [30, 20], "counts": "0d"},
        {"size": list(SIZE_HW), "counts": "0~"},
        {"size": list(SIZE_HW), "counts": "0d"},
        {"size": list(SIZE_HW), "counts": [3, 4]},
        {"size": list(SIZE_HW)},
        [[1, 2]],
        [],
        "mask",
        None,
    ],
)
def test_a_damaged_mask_is_named_when_its_image_is_asked(tmp_path, segmentation):
    path = write(
        tmp_path / "r.json",
        [entry(1, compressed(box(0, 0, 3, 3))), entry(1, segmentation), entry(2, GOOD["segmentation"])],
    )
    answers = ResultsAnswers(path, [image(1), image(2, (2, 2))])
    with pytest.raises(
        ValueError, match=r"r.json: the mask of the entry at byte \d+, of image 1, is damaged .* mend or"
    ):
        answers.masks(image(1), None)
    assert isinstance(answers.masks(image(2, (2, 2)), None), MaskSet)


def test_a_file_of_other_images_is_refused_and_some_of_them_are_told(tmp_path, caplog):
    path = write(tmp_path / "r.json", [GOOD, {**GOOD, "image_id": 2}])
    with pytest.raises(ValueError, match=r"2 entries, but of none of the 1 images: its image ids are such as \[1, 2\]"):
        ResultsAnswers(path, [image(5)])
    with pytest.raises(ValueError, match="has 0 entries, but of none of the 1 images"):
        ResultsAnswers(write(tmp_path / "none.json", []), [image(5)])
    ResultsAnswers(path, [image(2)])
    assert "1 entries are of images that are not evaluated" in caplog.text


def test_a_file_that_changes_meanwhile_is_noticed(tmp_path):
    path = write(tmp_path / "r.json", [GOOD])
    answers = ResultsAnswers(path, [image(1, (2, 2))])
    write(path, [GOOD, GOOD])
    with pytest.raises(ValueError, match=r"r.json was changed since it was opened; start again"):
        answers.masks(image(1, (2, 2)), None)
