import re

import pytest

from training.data.conversion.preparation import (
    listed,
    require_count,
    require_file,
    require_files,
    require_folder,
    run_converter,
)


def test_what_is_missing_is_listed_but_not_all_of_it(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    require_files(tmp_path, ["a.jpg"], "fetch it")
    with pytest.raises(FileNotFoundError) as caught:
        require_files(tmp_path, ["a.jpg", *(f"{n}.jpg" for n in range(12))], "fetch them")
    assert str(caught.value).startswith(f"{tmp_path} lacks 12 images; fetch them:\n  0.jpg\n  1.jpg")
    assert str(caught.value).endswith("\n  9.jpg\n  ... and 2 more")
    assert listed([]) == ""


def test_a_slip_of_the_pen_is_told_with_its_place(tmp_path):
    (tmp_path / "lvis").mkdir()
    (tmp_path / "lvis" / "val.json").write_text("{}")
    require_file(tmp_path / "lvis" / "val.json", "val.json", "fetch it")
    require_folder(tmp_path / "lvis", "lvis", "fetch it")
    lvis = tmp_path / "lvis"
    cases = {
        lvis / "vall.json": f"there is no file {lvis / 'vall.json'} (did you mean {lvis / 'val.json'}?). It must be",
        lvis / "other": f"there is no file {lvis / 'other'}. It must be val.json; fetch it",
        tmp_path
        / "lvs"
        / "a"
        / "val.json": f"val.json (nor a folder {tmp_path / 'lvs'}; did you mean {lvis}?). It must",
        lvis: f"{lvis} is a folder, not a file. It must be val.json; fetch it",
        lvis / "val.json" / "a": f"{lvis / 'val.json'} is a file, not a folder). It must be val.json; fetch it",
        lvis / "elsewhere": f"there is no file {lvis / 'elsewhere'}. It must be",  # nor is it what was meant
    }
    (lvis / "elsewhere").symlink_to("nowhere")
    for path, message in cases.items():
        with pytest.raises(FileNotFoundError, match=re.escape(message)):
            require_file(path, "val.json", "fetch it")
    with pytest.raises(FileNotFoundError, match=r"val\.json is a file, not a folder\. It must be lvis; fetch it"):
        require_folder(lvis / "val.json", "lvis", "fetch it")
    with pytest.raises(
        FileNotFoundError, match=r"there is no folder .* \(did you mean .*lvis\?\)\. It must be the folder"
    ):
        require_files(tmp_path / "lvi", ["a.jpg"], "fetch it")


def test_fewer_images_than_published_are_refused(tmp_path):
    require_count(3, 3, tmp_path)
    with pytest.raises(ValueError, match="has 2 images of val, fewer than the 3 that it must have"):
        require_count(2, 3, tmp_path, "images of val")


def test_exit_codes(capsys):
    def fails(error):
        raise error

    assert run_converter("prepare", lambda: "3 masks") == 0
    assert run_converter("prepare", lambda: fails(ValueError("damaged"))) == 1
    assert run_converter("prepare", lambda: fails(FileNotFoundError("gone"))) == 1
    assert run_converter("prepare", lambda: fails(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err.splitlines() == [
        "prepare: 3 masks",
        "prepare: no annotations were written: damaged",
        "prepare: no annotations were written: gone",
        "prepare: stopped; no annotations were written",
    ]
    with pytest.raises(ZeroDivisionError):  # a fault of the converter itself is not taken for one of its source
        run_converter("prepare", lambda: str(1 // 0))
