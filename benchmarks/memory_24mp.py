"""Peak resident memory of a process that labels a photograph of 24 megapixels from a file, and its seconds.

Example:
    python -m benchmarks.memory_24mp
    python -m benchmarks.memory_24mp --size 3000x2000
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measure import figure, print_figures

REPOSITORY = Path(__file__).resolve().parent.parent
MOST_GB = 2.0
"""What the project promises."""

WRITE = """
import sys
import numpy as np
import PIL.Image
from benchmarks.photographs import photographs
width, height = map(int, sys.argv[2].split("x"))
picture = PIL.Image.fromarray(photographs(2)["coffee"]).resize((width, height), PIL.Image.Resampling.BICUBIC)
image, rng = np.array(picture), np.random.default_rng(0)
for row in image:  # the noise of a sensor: an up-sampled photograph is smoother than any camera's
    row[:] = np.clip(row + rng.normal(0, 4, row.shape), 0, 255)
PIL.Image.fromarray(image).save(sys.argv[1], quality=95)
"""

# The first labels pay for compiled code and libraries, which any process has; "before" says how much that is.
LABEL = """
import json, sys, time
import numpy as np
from benchmarks.measure import one_core, peak_gb
from dico.labeler import PseudoLabeler
with one_core():
    labeler = PseudoLabeler.from_config(sys.argv[2] or None, sys.argv[3:])
    labeler(np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8))
    before_gb, start = peak_gb(), time.perf_counter()
    masks = labeler(sys.argv[1])
    seconds = time.perf_counter() - start
print(json.dumps({"masks": len(masks), "before_gb": before_gb, "peak_gb": peak_gb(), "seconds": seconds}))
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="6000x4000", metavar="WxH", help="of the photograph in pixels (6000x4000)")
    parser.add_argument("--config", default="", metavar="FILE", help="YAML file with what differs from the defaults")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings, such as refine.method=crf")
    arguments = parser.parse_intermixed_args(argv)
    with TemporaryDirectory() as folder:
        photograph = str(Path(folder) / "photograph.jpg")
        run(WRITE, photograph, arguments.size)
        found = json.loads(run(LABEL, photograph, arguments.config, *arguments.overrides))
    print(
        f"{arguments.size}: {found['masks']} masks in {found['seconds']:.1f} s; peak {found['peak_gb']:.2f} GB, "
        f"of which {found['before_gb']:.2f} GB before the photograph"
    )
    print_figures([figure(f"peak memory, {arguments.size} pixels", found["peak_gb"], MOST_GB, "GB")])
    return 0


def run(code: str, *arguments: str) -> str:
    """What a fresh process prints."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=REPOSITORY).stdout


if __name__ == "__main__":
    sys.exit(main())
