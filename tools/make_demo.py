"""Labels the photographs that come with scikit-image: what ``make demo`` runs.

Example: python tools/make_demo.py out/demo
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from dico.cli import main as dico
from dico.photographs import photograph_paths
from dico.store import MaskStore

PHOTOGRAPHS = 5


def main(argv: Sequence[str] | None = None) -> int:
    """Writes ``images/``, ``labels/``, ``gallery.html`` and ``annotations.json``; returns the exit code of ``dico``."""
    parser = argparse.ArgumentParser(description="Labels the photographs that come with scikit-image.")
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="the folder to write, such as out/demo")
    output: Path = parser.parse_args(argv).output
    images, labels = output / "images", output / "labels"
    if labels.exists():
        try:
            MaskStore.open(labels)
        except (OSError, ValueError) as error:
            parser.error(f"{labels} is in the way, as it is not a store: {error}")
        shutil.rmtree(labels)  # it may come from an older version of the code
    images.mkdir(parents=True, exist_ok=True)
    for path in photograph_paths(PHOTOGRAPHS):
        (images / path.name).write_bytes(path.read_bytes())
    print(f"dico: {PHOTOGRAPHS} photographs of scikit-image are in {images}", file=sys.stderr)
    for command in (
        ["label", str(images), str(labels)],
        ["view", str(labels), "--output", str(output / "gallery.html")],
        ["export", str(labels), "--format", "coco", "--output", str(output / "annotations.json")],
    ):
        if code := dico(command):
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
