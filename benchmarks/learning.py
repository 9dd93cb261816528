"""It learns: a model trained on labels of unlabelled photographs, measured on photographs that it was not trained on.

Labels some photographs of the pool with the embedded default, trains on them with a configuration, and measures recall
and precision on the dev sets: of the model before training, during it and after it, and beside them of its teacher, the
labels that ``dico label`` makes of the dev photographs themselves. Ground truth serves to measure only. What is done is
kept in the output folder: a run that was stopped goes on.

Example:
    python -m benchmarks.learning
    python -m benchmarks.learning --every 3 --output out/learning --sets coco_panoptic,coco_instances optim.steps=2000
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.dev_sets import ANNOTATIONS, MissingDataError, data_folder
from benchmarks.labelling import dev_set_names
from benchmarks.measure import figure, print_figures, skipped
from benchmarks.quality_report import markdown_table
from dico.evaluate import evaluate_store
from dico.evaluation_report import BudgetFigures, EvalReport
from dico.executors.pool import PoolExecutor
from dico.labelling import label_images
from dico.store import MaskStore
from training.build import evaluate, train
from training.config import EvaluationConfig, TrainConfig, load_train_config

CONFIG = Path(__file__).resolve().parent.parent / "configs" / "training" / "whole_image_tiny.yaml"
BUDGET = 100
SHORT = ("optim.steps=300", "evaluation.every=100")
"""What is trained when nothing is said: some minutes, which show that it learns and not how far it gets."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", type=Path, default=CONFIG, help="of the training")
    parser.add_argument(
        "--every", type=int, default=30, metavar="N", help="each N-th photograph of the pool is learned from"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("out/learning"), help="a folder; work in it is not repeated"
    )
    parser.add_argument(
        "--sets", type=dev_set_names, default=("coco_panoptic",), metavar="NAMES", help=f"of {', '.join(ANNOTATIONS)}"
    )
    parser.add_argument("--workers", type=int, help="processes that label")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help=f"of the training ({' '.join(SHORT)})")
    arguments = parser.parse_intermixed_args(argv)
    try:
        data = data_folder()
    except MissingDataError as error:
        return skipped(str(error))
    output: Path = arguments.output
    labels = output / "labels"
    label_pool(data / "pool" / "images", arguments.every, output, arguments.workers)
    config = load_train_config(arguments.config_file, arguments.overrides or SHORT)
    # The first set is measured along the way, the others before and after.
    curve_set = (str(data / "dev" / ANNOTATIONS[arguments.sets[0]]),)
    config = replace(
        config,
        output=str(output / "run"),
        data=replace(config.data, train=(str(labels),)),
        evaluation=replace(config.evaluation, data=curve_set, max_dets=(BUDGET,)),
    )
    if not train(config, resume=(output / "run" / "last_checkpoint").is_file()):
        return 130
    print(f"\n{markdown_table(['step', 'images seen', 'loss', 'AR', 'AP'], list(curve(config)))}\n")
    rows, figures = [], []
    for name in arguments.sets:
        reports = {
            "untrained": of_model(config, name, data, weights=""),
            "trained": of_model(config, name, data, weights=str(output / "run" / "model_final.pth")),
            "teacher: the labels": of_labels(name, data, output, arguments.workers),
        }
        rows += [[name, who, *cells(report)] for who, report in reports.items()]
        before, after, teacher = (at_budget(report).ar for report in reports.values())
        figures.append(figure(f"AR{BUDGET} on {name}: trained, untrained", after, before, "%", higher_is_better=True))
        figures.append(figure(f"AR{BUDGET} on {name}: trained, labels", after, teacher, "%", higher_is_better=True))
    header = ["dev set", "masks of", "masks", f"AR at {BUDGET}", "small / medium / large", "AP", "AP50"]
    print(f"{markdown_table(header, rows)}\n")
    print_figures(figures)
    return 0


def label_pool(images: Path, every: int, output: Path, workers: int | None) -> None:
    """Labels each so-manieth photograph of a folder into ``output/labels``."""
    chosen = sorted(path for path in images.iterdir() if path.suffix == ".jpg")[every - 1 :: every]
    output.mkdir(parents=True, exist_ok=True)
    listing = output / "photographs.txt"
    listing.write_text("".join(f"{path}\n" for path in chosen), encoding="utf-8")
    label_images(listing, output / "labels", executor=PoolExecutor(workers))


def of_model(config: TrainConfig, name: str, data: Path, *, weights: str) -> EvalReport:
    """The figures of a model on a dev set; without weights it is as it was before training."""
    evaluation = EvaluationConfig(data=(str(data / "dev" / ANNOTATIONS[name]),), max_dets=(BUDGET,))
    backbone = "" if weights else config.backbone_weights
    (report,) = evaluate(replace(config, weights=weights, backbone_weights=backbone, evaluation=evaluation))
    return report.figures


def of_labels(name: str, data: Path, output: Path, workers: int | None) -> EvalReport:
    """The figures of labels of a dev set's own photographs."""
    annotations = data / "dev" / ANNOTATIONS[name]
    store = output / "teacher" / annotations.parent.name  # two sets may share their photographs
    label_images(annotations.parent / "images", store, executor=PoolExecutor(workers))
    return evaluate_store(MaskStore.open(store), annotations, max_dets=(BUDGET,))


def curve(config: TrainConfig) -> Iterator[list[Any]]:
    """A row for each time the model was measured while it was trained."""
    losses: list[float] = []
    for line in (Path(config.output) / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        held = json.loads(line)
        losses += [held["loss"]] if "loss" in held else []
        if "evaluation" in held:
            found = {key.rpartition("/")[2]: value for key, value in held["evaluation"].items()}
            step = held["step"]
            seen = step * config.optim.batch_size
            mean = sum(losses) / len(losses)
            yield [
                f"{step:,}",
                f"{seen:,}",
                f"{mean:.2f}",
                *(f"{found[f'{kind}@{BUDGET}']:.1f}" for kind in ("AR", "AP")),
            ]
            losses = []


def at_budget(report: EvalReport) -> BudgetFigures:
    """The figures of the one budget."""
    (budget,) = report.budgets
    return budget


def cells(report: EvalReport) -> list[str]:
    """Of a row of the table of dev sets."""
    found = at_budget(report)
    low, high = found.ar_interval
    sizes = f"{found.ar_small:.1f} / {found.ar_medium:.1f} / {found.ar_large:.1f}"
    return [
        f"{found.masks_per_image:.0f}", f"{found.ar:.1f} ({low:.1f}-{high:.1f})", sizes, f"{found.ap:.1f}",
        f"{found.ap50:.1f}",
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
