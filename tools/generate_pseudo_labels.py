"""Labels images: the same as ``dico label``.

Example: python tools/generate_pseudo_labels.py photos/ labels/
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from dico.cli import main as dico


def main(argv: Sequence[str] | None = None) -> int:
    """Runs ``dico label`` with these arguments, or with those of the process; returns its exit code."""
    return dico(["label", *(sys.argv[1:] if argv is None else argv)])


if __name__ == "__main__":
    sys.exit(main())
