"""The whole stage without the extractor, beside the loop version of the published steps, on one core.

Divide, conquer, refine and select, in the published setting (configs/dico/unsam.yaml: 60 x 60 patches of a 480-pixel
image, 32 x 32 of a crop), on patch features made from photographs without weights. Before refinement both versions give
the same masks, or the benchmark fails. Refinement differs by design: the loop runs one CRF over all of the image for
each mask, ours shares it; how far the results agree is printed.

Example:
    python -m benchmarks.stage_speed --images 2
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.measure import figure, one_core, print_figures, timed
from benchmarks.photographs import photographs
from benchmarks.stage_loop import mask_set, refine_by_loop, select_by_loop, unrefined_by_loop
from benchmarks.stages import label_by_stages
from benchmarks.stand_in import StandInExtractor
from dico.config import PipelineConfig, load_config
from dico.divide.maskcut import MaskCut
from dico.features.base import Extractor
from dico.image import Image, resize_image
from dico.labeler import PseudoLabeler
from dico.masks import MaskSet
from dico.photographs import NAMES
from dico.refine import Refiner, build_refiner
from dico.refine.base import Unrefined

PUBLISHED = Path(__file__).resolve().parent.parent / "configs" / "dico" / "unsam.yaml"
STAGES = ("divide", "conquer", "refine", "select")
RUNS = 3


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=len(NAMES), help=f"how many photographs, up to {len(NAMES)}")
    parser.add_argument("--channels", type=int, default=768, help="of a patch: 768 for ViT-B, 384 for ViT-S")
    arguments = parser.parse_args(argv)
    config = load_config(PUBLISHED)
    size_hw = (config.extractor.size, config.extractor.size)
    extractor = StandInExtractor(arguments.channels, config.extractor.size)
    names, ours, theirs = [], [], []
    with one_core():
        for name, photograph in photographs(arguments.images).items():
            image = resize_image(photograph, size_hw)
            fast, loop = compare(name, image, extractor, config)
            names, ours, theirs = [*names, name], [*ours, fast], [*theirs, loop]
    print("\nseconds, ours / loop")
    for stage in STAGES:
        fast_s, loop_s = (sum(seconds[stage] for seconds in version) for version in (ours, theirs))
        print(f"  {stage:8} {fast_s:8.3f} / {loop_s:8.2f}   {loop_s / fast_s:6.0f} times")
    figures = []
    for part, stages in (("", STAGES), (" without refinement", ("divide", "conquer", "select unrefined"))):
        fast_s, loop_s = (sum(seconds[s] for seconds in version for s in stages) for version in (ours, theirs))
        figures.append(figure(f"stage without extractor{part}, {len(names)} images", fast_s, loop_s, "s"))
    print_figures(figures)
    return 0


def compare(
    name: str, image: Image, extractor: Extractor, config: PipelineConfig
) -> tuple[dict[str, float], dict[str, float]]:
    """The seconds of the stages, ours and of the loop; raises when the masks differ before refinement."""
    (features,) = extractor.extract([image])
    dense, theirs = unrefined_by_loop(image, features, extractor, config)
    expected, theirs["select unrefined"] = timed(lambda: select_by_loop(dense, config.select, features.size_hw))
    unrefined, seconds = best_of_runs(labeler(config, extractor, Unrefined()), image)
    if not same_masks(unrefined, expected):
        raise RuntimeError(f"the masks before refinement differ on {name}")
    refiner = build_refiner(config.refine)
    _, ours = best_of_runs(labeler(config, extractor, refiner), image)
    ours["select unrefined"] = seconds["select"]
    # A name for each mask, to know it again after refinement.
    dense = [replace(one, source=str(n)) for n, one in enumerate(dense)]
    refined, theirs["refine"] = timed(lambda: refine_by_loop(image, dense, config.refine))
    _, theirs["select"] = timed(lambda: select_by_loop(refined, config.select, features.size_hw))
    agreement = describe_agreement(
        refiner.refine(image, mask_set(dense, features.size_hw)), mask_set(refined, features.size_hw)
    )
    fast_s, loop_s = (sum(version[stage] for stage in STAGES) for version in (ours, theirs))
    print(
        f"{name}: {len(dense)} masks, equal; {agreement}; "
        f"ours {fast_s:.2f} s, loop {loop_s:.1f} s, {loop_s / fast_s:.0f} times",
        flush=True,
    )
    return ours, theirs


def labeler(config: PipelineConfig, extractor: Extractor, refiner: Refiner) -> PseudoLabeler:
    return PseudoLabeler(config, extractor=extractor, divider=MaskCut(config.divide), refiner=refiner)


def best_of_runs(labeler: PseudoLabeler, image: Image) -> tuple[MaskSet, dict[str, float]]:
    """The masks, and the shortest time of each stage; the first run compiles and does not count."""
    label_by_stages(labeler, image)
    runs = [label_by_stages(labeler, image) for _ in range(RUNS)]
    return runs[0][0], {stage: min(seconds[stage] for _, seconds in runs) for stage in runs[0][1]}


def same_masks(ours: MaskSet, theirs: MaskSet) -> bool:
    """Whether two sets hold the same masks in the same order with the same links; scores may differ by rounding."""
    names = ("level", "theta", "parent")
    return (
        (ours.rles, ours.source) == (theirs.rles, theirs.source)
        and all(np.array_equal(getattr(ours, name), getattr(theirs, name)) for name in names)
        and np.allclose(ours.score, theirs.score, atol=1e-5)
    )


def describe_agreement(ours: MaskSet, theirs: MaskSet) -> str:
    """How many masks survive refinement in both versions, and how alike these are; ``source`` names the masks."""
    place = {name: n for n, name in enumerate(theirs.source)}
    both = [n for n, name in enumerate(ours.source) if name in place]
    others = [place[ours.source[n]] for n in both]
    text = f"after refinement {len(ours)} / {len(theirs)} survive, {len(both)} in both"
    if not both:
        return text
    iou_N = np.diag(ours[both].iou(theirs[others]))
    return f"{text} with a mean IoU of {iou_N.mean():.2f}"


if __name__ == "__main__":
    sys.exit(main())
