"""Seconds to label a photograph of 481 x 321 pixels on one core, and how the stages share them.

Example:
    python -m benchmarks.label_speed
    python -m benchmarks.label_speed --runs 1 refine.method=crf
    python -m benchmarks.label_speed --runs 1 --size 2250x1500
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np
import zstandard

from benchmarks.measure import figure, one_core, print_figures
from benchmarks.photographs import photographs
from benchmarks.stages import STAGES, label_by_stages
from dico.image import resize_image
from dico.labeler import PseudoLabeler
from dico.store import ImageEntry, encode_row
from dico.store.shards import COMPRESSION_LEVEL

MOST_S = 3.0
"""What the project promises."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=6, help="how many bundled photographs (6)")
    parser.add_argument("--runs", type=int, default=3, help="of each photograph; the fastest counts (3)")
    parser.add_argument("--size", default="481x321", metavar="WxH", help="of the photographs, in pixels (481x321)")
    parser.add_argument("--config", metavar="FILE", help="YAML file with what differs from the defaults")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings, such as select.max_masks=100")
    arguments = parser.parse_intermixed_args(argv)
    labeler = PseudoLabeler.from_config(arguments.config, arguments.overrides)
    longer, shorter = sorted(map(int, arguments.size.split("x")), reverse=True)
    rows, lines = [], []
    with one_core():
        for name, photograph in photographs(arguments.images).items():
            upright = photograph.shape[0] > photograph.shape[1]
            image = resize_image(photograph, (longer, shorter) if upright else (shorter, longer))
            expected = labeler(image)  # compiles
            runs = [label_by_stages(labeler, image) for _ in range(arguments.runs)]
            if any(masks != expected for masks, _ in runs):
                raise RuntimeError(f"stage by stage, {name} gets other masks than from the labeler")
            seconds = min((seconds for _, seconds in runs), key=lambda seconds: sum(seconds.values()))
            rows.append([seconds[stage] for stage in STAGES])
            lines.append(encode_row(ImageEntry(len(lines), name, 0), expected))
            shares = ", ".join(f"{stage} {seconds[stage]:.2f}" for stage in STAGES)
            print(f"{name}: {len(expected)} masks in {sum(rows[-1]):.2f} s: {shares}", flush=True)
    seconds_RS = np.array(rows)
    total_R = seconds_RS.sum(axis=1)
    shares_S = 100 * seconds_RS.sum(axis=0) / total_R.sum()
    print(
        "\nshare of the time: "
        + ", ".join(f"{stage} {share:.0f} %" for stage, share in zip(STAGES, shares_S, strict=True))
    )
    print(f"a photograph: median {np.median(total_R):.2f} s, at most {total_R.max():.2f} s")
    row_kb = len(zstandard.ZstdCompressor(level=COMPRESSION_LEVEL).compress(b"".join(lines))) / len(lines) / 1000
    print(f"a row of the store: {row_kb:.0f} KB compressed, {sum(map(len, lines)) / len(lines) / 1000:.0f} KB before")
    print_figures([figure(f"labelling {arguments.size} on one core", float(np.median(total_R)), MOST_S, "s")])
    return 0


if __name__ == "__main__":
    sys.exit(main())
