"""Peak memory and time of a million annotations: two stores are merged, and the whole is written as one COCO json.

Example:
    python -m benchmarks.coco_merge
    python -m benchmarks.coco_merge --images 100 --photographs 1
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import figure, print_figures

REPOSITORY = Path(__file__).resolve().parent.parent
MOST_MB = 200.0
"""What writing a million annotations may take."""

# Each step in a process of its own, so that the peak is that of the step. The masks of a few photographs come again and
# again, as rows of full size.
WRITE = """
import sys
from pathlib import Path
from benchmarks.photographs import photographs
from dico.labeler import PseudoLabeler
from dico.store import ImageEntry, Manifest, MaskStore, encode_row
folder, images = Path(sys.argv[1]), int(sys.argv[2])
labeler = PseudoLabeler.from_config()
pool = [labeler(image) for image in photographs(int(sys.argv[3])).values()]
manifest = Manifest(str(folder), tuple(ImageEntry(i, f"{i:06d}.jpg", 1) for i in range(images)), {}, "synthetic", 16)
half = manifest.shards // 2
for name, shards in (("a", range(half)), ("b", range(half, manifest.shards))):
    with MaskStore.create(folder / name, manifest).writer(shards) as writer:
        for shard in shards:
            for index in manifest.shard_indices(shard):
                writer.add(index, encode_row(manifest.entries[index], pool[index % len(pool)]))
print(sum(len(pool[index % len(pool)]) for index in range(images)))
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
    seconds, peak_mb = json.loads(run(MEASURED.format(code=code), *arguments).splitlines()[-1])
    return seconds, peak_mb


def run(code: str, *arguments: str) -> str:
    """What a fresh process prints."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=REPOSITORY).stdout


def main(argv: Sequence[str] | None = None) -> int:
    """Writes two stores, merges and exports them, and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2900)
    parser.add_argument("--photographs", type=int, default=4, help="whose masks are used (4)")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        annotations = int(run(WRITE, folder, str(args.images), str(args.photographs)).splitlines()[-1])
        merge_s, merge_mb = measured(MERGE, folder)
        export_s, export_mb = measured(EXPORT, folder)
        size_mb = (Path(folder) / "all.json").stat().st_size / 1e6
        if annotations <= 100_000:  # reading a million would take gigabytes, which is the point
            count = len(json.loads((Path(folder) / "all.json").read_text(encoding="utf-8"))["annotations"])
            if count != annotations:
                raise RuntimeError(f"the json has {count} annotations of {annotations}")
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
