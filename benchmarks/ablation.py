"""What each stage gives: the labels with stages switched off or changed, on the same photographs.

Prints one table for each set, in Markdown.

Example:
    python -m benchmarks.ablation --sets bsds_train_consensus,parts --limit 20
    python -m benchmarks.ablation --only "no spectral cue" "no refinement"
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.dev_sets import MissingDataError, by_photographs, load_dev_set
from benchmarks.labelling import Job, label_photographs, measuring_parser
from benchmarks.measure import figure, print_figures, skipped
from benchmarks.quality_report import evaluate, markdown_table, quality_cells, recall_difference
from dico.config import load_config

DEFAULT = "default"
ONE_LINKAGE = "{feature_weight: 0.3, boundary_weight: 1.0, size_power: 0.35}"
VARIATIONS = {
    DEFAULT: (),
    "divide, three masks": ("divide.max_masks=3",),
    "divide without conquer": ("divide.max_masks=3", "conquer.whole_image=none"),
    "divide, and parts of its masks": ("divide.max_masks=3", "conquer.parts=true"),
    "one linkage": (f"conquer.pool.linkages=[{ONE_LINKAGE}]",),
    "one linkage at thresholds": (
        "conquer.whole_image=thresholds",
        f"conquer.linkage={ONE_LINKAGE}",
        "conquer.thetas=[0.995, 0.99, 0.98, 0.97, 0.95, 0.92, 0.88, 0.8]",
    ),
    "published merging rule": (
        "conquer.whole_image=thresholds",
        "conquer.linkage={feature_weight: 1.0, boundary_weight: 0.0, size_power: 0.0}",
        "conquer.thetas=[0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5]",
    ),
    "no prior for height": ("conquer.pool.height_power=0",),
    "no prior for contrast": ("conquer.pool.contrast_power=0",),
    "no prior for compactness": ("conquer.pool.compactness_power=0",),
    "no prior for size": ("conquer.pool.size_power=0",),
    "no spectral cue": ("extractor.classical.spectral_weight=0",),
    "no refinement": ("refine.method=none",),
    "guided filter": ("refine.method=guided",),
    "dense CRF, published weights": ("refine.method=crf",),
    "dense CRF, unary weight 8": ("refine.method=crf", "refine.unary_weight=8"),
}
"""What is changed, by what it is called; one that changes nothing is left out."""
SETS = ("bsds_train_consensus", "coco_instances")
LIMIT = 20
BUDGETS = (350, 100)
MAIN = 350


def main(argv: Sequence[str] | None = None) -> int:
    parser = measuring_parser(__doc__, sets=SETS, limit=LIMIT)
    parser.add_argument("--only", nargs="+", choices=list(VARIATIONS), metavar="NAME", help="these variations alone")
    arguments = parser.parse_intermixed_args(argv)
    names = dict.fromkeys([DEFAULT, *(arguments.only or VARIATIONS)])
    configs = {name: load_config(arguments.config, [*arguments.overrides, *VARIATIONS[name]]) for name in names}
    configs = {name: config for name, config in configs.items() if name == DEFAULT or config != configs[DEFAULT]}
    try:
        dev_sets = [load_dev_set(name, arguments.limit) for name in arguments.sets]
    except MissingDataError as error:
        return skipped(str(error))
    for name in names:
        if name not in configs:
            print(f"{name}: is the default")
    figures = []
    header = ["labels", "masks", *(f"AR at {n}" for n in BUDGETS), f"small / medium / large at {MAIN}", f"AP at {MAIN}"]
    for paths, sharing in by_photographs(dev_sets).items():
        labels = label_photographs(Job(tuple(configs.values())), paths, arguments.workers, title=sharing[0].name)
        by_name = dict(zip(configs, zip(*labels, strict=True), strict=True))
        for dev_set in sharing:
            rows = []
            default = evaluate(dev_set, by_name[DEFAULT], arguments.resamples)
            for name, masks in by_name.items():
                report = evaluate(dev_set, masks, arguments.resamples)
                cells = quality_cells(report, most=configs[name].select.max_masks, budgets=BUDGETS, main=MAIN)
                gain = recall_difference(
                    dev_set.images, masks, by_name[DEFAULT], max_masks=MAIN, resamples=arguments.resamples
                )
                rows.append([name, *cells, "" if name == DEFAULT else str(gain)])
                title = f"AR at {MAIN}, {dev_set.name}, {name}"
                theirs = None if name == DEFAULT else default.at(MAIN).ar
                figures.append(figure(title, report.at(MAIN).ar, theirs, "%", higher_is_better=True))
            print(
                f"\n{dev_set.name}, {len(paths)} photographs\n\n{markdown_table([*header, 'difference'], rows)}",
                flush=True,
            )
    print()
    print_figures(figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
