"""Peak memory and time of a million annotations: two stores are merged, and the whole is written as one COCO json.

Example:
    python benchmarks/coco_merge.py
    python benchmarks/coco_merge.py --images 100 --masks 100
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measure import figure, print_figures

REPOSITORY = Path(__file__).resolve().parent.parent
MOST_MB = 200.0
"""What writing a million annotations may take."""

# Each step in a process of its own, so that the peak is that of the step. Blobs of noise, smoothed: codes as of labels.
WRITE = """
import sys
from pathlib import Path
import numpy as np
from scipy.ndimage import gaussian_filter
from dico.masks import MaskSet
from dico.store import ImageEntry, Manifest, MaskStore, encode_row
folder, images, masks = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
rng = np.random.default_rng(0)
pool = []
for _ in range(4):
    noise_NHW = gaussian_filter(rng.normal(size=(masks, 160, 240)).astype(np.float32), (0, 8, 8))
    pool.append(MaskSet.from_arrays(noise_NHW > 0.02 * rng.random((masks, 1, 1))))
manifest = Manifest(str(folder), tuple(ImageEntry(i, f"{i:06d}.jpg", 1) for i in range(images)), {}, "synthetic", 16)
half = manifest.shards // 2
for name, shards in (("a", range(half)), ("b", range(half, manifest.shards))):
    with MaskStore.create(folder / name, manifest).writer(shards) as writer:
        for shard in shards:
            for index in manifest.shard_indices(shard):
                writer.add(index, encode_row(manifest.entries[index], pool[index % len(pool)]))
"""
MERGE = """
import sys
from dico.cli import main
sys.exit(main(["merge", sys.argv[1] + "/a", sys.argv[1] + "/b", "--output", sys.argv[1] + "/all"]))
"""
EXPORT = """
import sys
from dico.cli import main
sys.exit(main(["export", sys.argv[1] + "/all", "--format", "coco", "--output", sys.argv[1] + "/all.json"]))
"""
MEASURED = """
import json, resource, runpy, sys, time
start, code = time.perf_counter(), 0
try:
    exec({code!r})
except SystemExit as stop:
    code = stop.code
peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
print(json.dumps([time.perf_counter() - start, peak_mb]))
sys.exit(code)
"""


def measured(code: str, *arguments: str) -> tuple[float, float]:
    """Seconds and peak resident megabytes of a fresh process that runs some code, imports included."""
    command = [sys.executable, "-c", MEASURED.format(code=code), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=REPOSITORY)
    seconds, peak_mb = json.loads(done.stdout.splitlines()[-1])
    return seconds, peak_mb


def main(argv: Sequence[str] | None = None) -> int:
    """Writes two stores, merges and exports them, and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--masks", type=int, default=1000, help="of each image")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        measured(WRITE, folder, str(args.images), str(args.masks))
        merge_s, merge_mb = measured(MERGE, folder)
        export_s, export_mb = measured(EXPORT, folder)
        size_mb = (Path(folder) / "all.json").stat().st_size / 1e6
        if args.images * args.masks <= 100_000:  # reading a million would take gigabytes, which is the point
            count = len(json.loads((Path(folder) / "all.json").read_text(encoding="utf-8"))["annotations"])
            if count != args.images * args.masks:
                raise RuntimeError(f"the json has {count} annotations of {args.images * args.masks}")
    annotations = args.images * args.masks
    print(f"merge: {merge_s:.1f} s, {merge_mb:.0f} MB; export: {export_s:.1f} s, {export_mb:.0f} MB, {size_mb:.0f} MB")
    print_figures(
        [
            figure(f"peak memory, merging stores of {annotations:,} masks", merge_mb, MOST_MB, "MB"),
            figure(f"peak memory, COCO json of {annotations:,} annotations", export_mb, MOST_MB, "MB"),
            figure(f"COCO json of {annotations:,} annotations", export_s, None, "s"),
        ]
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
