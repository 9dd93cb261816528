"""How well the labels find what people marked: AR at 1,000, 350 and 100 masks, AP, AR by size.

The embedded default beside multi-scale Felzenszwalb segmentation on the same photographs. The default keeps at most 350
masks an image; for the budget of 1,000 the same configuration is asked for more. Ground truth serves to measure only.

Example:
    python -m benchmarks.quality --sets bsds_train_consensus --limit 20
    python -m benchmarks.quality --markdown --workers 4 > table.md
    python -m benchmarks.quality --no-reference refine.method=crf
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.dev_sets import REPORTED, MissingDataError, by_photographs, load_dev_set
from benchmarks.felzenszwalb import MAX_MASKS
from benchmarks.labelling import Job, label_photographs, measuring_parser
from benchmarks.measure import figure, print_figures, skipped
from benchmarks.quality_report import evaluate, markdown_table, quality_cells, recall_difference
from dico.config import load_config
from dico.evaluation_report import EvalReport

BUDGETS = (1000, 350, 100)
MAIN = 350
WIDE = ("select.max_masks=1000", "conquer.pool.max_regions=1500")
"""What makes the default give 1,000 masks where the image has them."""
REFERENCE = "Felzenszwalb, 8 scales"


def main(argv: Sequence[str] | None = None) -> int:
    parser = measuring_parser(__doc__, sets=REPORTED, limit=None)
    parser.add_argument("--markdown", action="store_true", help="print a table for a document")
    parser.add_argument(
        "--no-wide", action="store_true", help="leave out the labels of up to 1,000 masks, which take long"
    )
    parser.add_argument("--no-reference", action="store_true", help="measure the labels alone")
    arguments = parser.parse_intermixed_args(argv)
    config = load_config(arguments.config, arguments.overrides)
    wide = config if arguments.no_wide else load_config(arguments.config, [*arguments.overrides, *WIDE])
    try:
        dev_sets = [load_dev_set(name, arguments.limit) for name in arguments.sets]
    except MissingDataError as error:
        return skipped(str(error))
    most = {f"dico, up to {c.select.max_masks:,} masks": c.select.max_masks for c in (config, wide)}
    ours, ours_wide = next(iter(most)), list(most)[-1]  # one and the same when the configuration asks for 1,000 itself
    job = Job(tuple(dict.fromkeys((config, wide))), reference=not arguments.no_reference)
    if job.reference:
        most[REFERENCE] = MAX_MASKS
    figures, rows = [], []
    for paths, sharing in by_photographs(dev_sets).items():
        labels = label_photographs(job, paths, arguments.workers, title=sharing[0].name)
        by_method = dict(zip(most, zip(*labels, strict=True), strict=True))
        for dev_set in sharing:
            reports = {method: evaluate(dev_set, masks, arguments.resamples) for method, masks in by_method.items()}
            for method, report in reports.items():
                print(f"\n{dev_set.name}, {method}: {report.table()}", flush=True)
                cells = quality_cells(report, most=most[method], budgets=BUDGETS, main=MAIN)
                rows.append([dev_set.name, method, *cells])
            if job.reference:
                gain = recall_difference(
                    dev_set.images,
                    by_method[ours],
                    by_method[REFERENCE],
                    max_masks=MAIN,
                    resamples=arguments.resamples,
                )
                print(f"\n{dev_set.name}: AR at {MAIN} masks is {gain} points from that of {REFERENCE}")
            figures += figures_of(dev_set.name, reports[ours], reports[ours_wide], reports.get(REFERENCE))
    if arguments.markdown:
        header = ["dev set", "labels", "masks", *(f"AR at {n:,}" for n in BUDGETS)]
        print(f"\n{markdown_table([*header, f'small / medium / large at {MAIN}', f'AP at {MAIN}'], rows)}\n")
    print_figures(figures)
    return 0


def figures_of(name: str, default: EvalReport, wide: EvalReport, reference: EvalReport | None) -> list[dict[str, Any]]:
    """AR at each budget, with the reference's."""
    found = []
    for budget in BUDGETS:
        report = wide if budget > MAIN else default
        theirs = reference.at(budget).ar if reference else None
        found.append(figure(f"AR at {budget}, {name}", report.at(budget).ar, theirs, "%", higher_is_better=True))
    return found


if __name__ == "__main__":
    sys.exit(main())
