"""PNG files whose pixels are numbers: those that Pillow would give as other numbers, and damaged ones."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest

from tests.training.converters import write_png
from training.data.number_maps import bits_of, read_colours, read_numbers

NUMBERS_HW = np.arange(24, dtype=np.uint8).reshape(4, 6)


@pytest.mark.parametrize("in_a_byte", [2, 4])
def test_grey_of_few_bits_is_refused_as_pillow_makes_it_brighter(tmp_path, in_a_byte):
    png = tmp_path / "map.png"
    write_png(png, NUMBERS_HW[:, : 6 // in_a_byte], in_a_byte=in_a_byte)
    size_hw = (4, 6 // in_a_byte * in_a_byte)
    with pytest.raises(
        ValueError, match=rf"map\.png must be grey.* it is grey, {8 // in_a_byte} bits a channel\. Save"
    ):
        read_numbers(png, size_hw, bits=16)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_numbers_of_a_palette_are_kept_however_few_their_bits(tmp_path, bits):
    png, numbers_HW = tmp_path / "map.png", NUMBERS_HW & (2**bits - 1)
    picture = PIL.Image.new("P", (6, 4))
    picture.putpalette([0, 0, 9] * 256)
    picture.putdata(numbers_HW.ravel().tolist())
    picture.save(png, bits=bits)
    assert bits_of(png) == bits
    np.testing.assert_array_equal(read_numbers(png, (4, 6)), numbers_HW)


def test_other_formats_are_refused_as_they_change_numbers(tmp_path):
    for name, pixels, read in (
        ("grey.png", NUMBERS_HW, lambda png: read_numbers(png, (4, 6))),
        ("colours.png", np.repeat(NUMBERS_HW[..., None], 3, axis=2), read_colours),
    ):
        PIL.Image.fromarray(pixels).save(tmp_path / name, format="JPEG")
        with pytest.raises(ValueError, match=rf"{name} must .*; it is no PNG, but JPEG\. Save it anew"):
            read(tmp_path / name)


def test_damage_wherever_it_is_is_told_with_the_file(tmp_path):
    png = tmp_path / "map.png"
    write_png(png, np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))
    whole = png.read_bytes()
    at = whole.index(b"IDAT")
    shorter = whole[: at - 4] + (20).to_bytes(4, "big") + whole[at:]  # what follows is read as the name of a chunk
    for broken in (shorter, whole[: len(whole) // 2], whole[:30], b""):
        png.write_bytes(broken)
        with pytest.raises(ValueError, match=r"map\.png cannot be read \(.*; fetch it again"):
            read_colours(png)
