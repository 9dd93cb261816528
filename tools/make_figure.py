"""Draws photographs beside their masks at several granularities: the picture of the README.

Example: python tools/make_figure.py out/demo/labels docs/images/granularity.jpg astronaut.png coffee.png
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image

from dico import MaskSet, MaskStore
from dico.image import Image, load_image, resize_image
from dico.painting import paint

THETAS = (0.2, 0.4, 0.6)
HEIGHT = 300
GAP = 6


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the picture; a row for each image, a column for each granularity."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, metavar="STORE", help="a folder that dico label made")
    parser.add_argument("output", type=Path, metavar="FILE", help="the picture to write")
    parser.add_argument("names", nargs="+", metavar="NAME", help="paths of images, as in the store")
    args = parser.parse_args(argv)
    store = MaskStore.open(args.store)
    drawn = {
        row.path: draw_row(load_image(store.image_path(row)), row.masks)
        for row in store
        if row.masks is not None and row.path in args.names
    }
    if missing := sorted(set(args.names) - drawn.keys()):
        parser.error(f"no masks of {', '.join(missing)} in {args.store}")
    args.output.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(stack([drawn[name] for name in args.names])).save(args.output, quality=82, optimize=True)
    return 0


def draw_row(image: Image, masks: MaskSet) -> Image:
    """The image and its masks at each of ``THETAS``, side by side, ``HEIGHT`` pixels high."""
    width = round(image.shape[1] * HEIGHT / image.shape[0])
    panels = [image, *(paint(image, masks.at_theta(theta)) for theta in THETAS)]
    gap = np.full((HEIGHT, GAP, 3), 255, dtype=np.uint8)
    row = [part for panel in panels for part in (resize_image(panel, (HEIGHT, width)), gap)]
    return np.concatenate(row[:-1], axis=1)


def stack(rows: Sequence[Image]) -> Image:
    """The rows under one another, each scaled to the width of the narrowest."""
    width = min(row.shape[1] for row in rows)
    scaled = [resize_image(row, (round(row.shape[0] * width / row.shape[1]), width)) for row in rows]
    gap = np.full((GAP, width, 3), 255, dtype=np.uint8)
    return np.concatenate([part for row in scaled for part in (row, gap)][:-1])


if __name__ == "__main__":
    sys.exit(main())
