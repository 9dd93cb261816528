"""The report of an evaluation as Markdown: what stands where, what is never averaged, and that names stay text."""

from __future__ import annotations

import dataclasses
import math

import pytest

from tests.training.reports_by_hand import SKIPPED, budget, clicked, full_set, set_report, seven_sets, suite
from training.evaluation.pages.markdown import suite_markdown
from training.evaluation.pages.published import SET_TITLES
from training.evaluation.pages.tables import with_interval
from training.evaluation.suite_report import SetReport, SuiteReport


def table(text: str, first: str) -> list[list[str]]:
    """The cells of the table whose first column is called so."""
    lines = text[text.index(f"| {first} |") :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def comparison(report: SuiteReport) -> list[list[str]]:
    return table(suite_markdown(report), "AR at 1,000 masks")


# ---------------------------------------------------------------- beside published rows


def test_seven_whole_sets_stand_below_published_rows() -> None:
    head, rule, *rows = comparison(suite(*reversed(seven_sets())))
    assert head == ["AR at 1,000 masks", "average", *SET_TITLES]
    assert rule == ["---", *["---:"] * 8]
    assert all(len(row) == 9 for row in rows)
    by_name = {row[0]: row[1:] for row in rows}
    assert by_name["SAM ViT-B (supervised)"] == ["42.1", "49.6", "46.1", "45.8", "45.9", "60.8", "28.3", "18.1"]
    assert by_name["UnSAM's pseudo-labels, CascadePSP"] == ["21.7", "-", "-", "-", "-", "23.9", "-", "-"]
    ours = [f"{30 + n}.0 ({28.5 + n}-{31.5 + n})" for n in range(7)]
    assert rows[-1] == [f"**{cell}**" for cell in ("ours", "33.0 (32.4-33.6)", *ours)]  # 1.5 / sqrt(7)
    text = suite_markdown(suite(*seven_sets()))
    assert "copied from their papers" in text
    assert f"Ours is measured on all images of {', '.join(SET_TITLES[:-1])} and PACO." in text
    assert "that of independent sets" in text and "No average" not in text and "Not comparable" not in text


def test_a_part_of_a_set_is_marked_and_not_averaged() -> None:
    report = suite(set_report(ar=30.0, n_images=50), *seven_sets()[1:])
    ours = comparison(report)[-1]
    assert ours[1] == "**-**"
    assert ours[2] == "**30.0 (28.5-31.5), 50 of 5,000 images**"
    assert ours[3] == "**31.0 (29.5-32.5)**"
    text = suite_markdown(report)
    assert "Not comparable, as only a part was measured: COCO on 50 of 5,000 images." in text
    assert "No average of ours: of COCO only a part was." in text
    assert "Only a part was measured: 50 of 5,000 images, evenly spaced." in text


def test_images_whose_ground_truth_cannot_be_read_are_told() -> None:
    text = suite_markdown(suite(clicked(n_images=4_999, left_out=1)))
    assert "- 1 image is left out: the ground truth cannot be read." in text and "evenly spaced" not in text
    text = suite_markdown(suite(set_report(n_images=4_998, left_out=2)))
    assert "- 2 images are left out: the ground truth cannot be read." in text and "evenly spaced" not in text
    assert "evenly spaced" in suite_markdown(suite(clicked(n_images=4_998, left_out=1)))


def test_a_set_that_is_only_called_like_a_published_one_is_not_put_beside_it() -> None:
    small = set_report(n_images=4, all_images=4)
    assert "published" not in suite_markdown(suite(small))
    report = suite(small, *seven_sets()[1:])
    assert comparison(report)[-1][1:3] == ["**-**", "**-**"]
    text = suite_markdown(report)
    assert "Called like a published set, but another: coco, of 4 images and not 5,000." in text
    assert "No average of ours: COCO was not evaluated." in text


def test_a_set_that_is_missing_has_no_figure_and_there_is_no_average() -> None:
    report = suite(*[one for one in seven_sets() if one.name not in ("lvis", "paco")], skipped=(SKIPPED,))
    ours = comparison(report)[-1]
    assert (ours[1], ours[3], ours[8]) == ("**-**",) * 3
    assert "No average of ours: LVIS and PACO were not evaluated." in suite_markdown(report)


def test_images_without_answer_are_told_beside_published_rows() -> None:
    text = suite_markdown(suite(set_report(unanswered=1)))
    assert "\nCOCO: 1 image has no answer and counts as without masks.\n" in text


def test_other_budgets_are_not_put_beside_published_recall() -> None:
    one = set_report()
    fewer = dataclasses.replace(one, figures=dataclasses.replace(one.figures, budgets=(budget(100, 20.0),)))
    report = suite(fewer, *seven_sets()[1:])
    assert comparison(report)[-1][1:3] == ["**-**", "**-**"]
    assert "COCO was not evaluated at 1,000 masks" in suite_markdown(report)


def test_sets_that_nobody_publishes_stand_alone() -> None:
    text = suite_markdown(suite(set_report("dev_parts", "dev parts")))
    assert "published" not in text.lower()
    assert table(text, "data set")[2][0] == "dev parts"


def test_clicks_stand_beside_published_clicks() -> None:
    text = suite_markdown(suite(clicked(), clicked("dev_panoptic", "dev panoptic")))
    rows = table(text, "COCO panoptic")
    assert rows[0] == ["COCO panoptic", "Max IoU", "Oracle IoU"]
    assert ["UnSAM", "40.3", "59.5"] in rows
    assert rows[-1] == ["**ours**", "**33.3 (32.0-34.5)**", "**44.4 (43.0-45.5)**"]
    assert "Ours is measured on all 5,000 images." in text
    assert "Ours is measured on 40 of 5,000 images: not comparable." in suite_markdown(suite(clicked(n_images=40)))
    assert "Semantic-SAM" not in suite_markdown(suite(clicked(n_images=40, all_images=40)))
    assert "published" not in suite_markdown(suite(clicked("dev_panoptic", "dev panoptic"))).lower()


# ---------------------------------------------------------------- everything else


def test_what_was_evaluated_is_said_first() -> None:
    report = suite(
        set_report(), skipped=(SKIPPED,), verified="pycocotools agrees", made_with={"numpy": "2.4", "python": "3.11"}
    )
    first = suite_markdown(report, when="2026-11-21").split("\n\n")[:2]
    assert first[0] == "# Whole-image evaluation"
    assert first[1].splitlines() == [
        "- Evaluated: store labels",
        "- Task: all masks of an image against all ground truths, blind to classes, at IoU .50:.95",
        "- Images: all 5,000 images of 1 data set; 1 not evaluated, see below",
        "- Verified: pycocotools agrees",
        "- Made with: numpy 2.4, python 3.11",
        "- When: 2026-11-21",
    ]
    assert "When" not in suite_markdown(report)
    assert "Verified: not compared" in suite_markdown(suite(set_report()))


def test_every_figure_of_a_set_is_there() -> None:
    text = suite_markdown(suite(full_set(unanswered=3)))
    overview = table(text, "data set")
    assert dict(zip(overview[0], overview[2], strict=True)) == {
        "data set": "COCO",
        "images": "all 5,000",
        "ground truths": "1,234",
        "masks an image": "12.5",
        "AR at 100": "20.0 (18.5-21.5)",
        "AR at 1,000": "40.0 (38.5-41.5)",
        "AP": "10.0 (9.0-11.0)",
        "AP50": "20.0",
    }
    budgets = table(text, "masks")
    assert budgets[0][1:5] == ["AR", "AR small (0)", "AR medium (1,000)", "AR large (234)"]
    assert budgets[3] == [
        "1,000",
        "40.0 (38.5-41.5)",
        "-",
        "20.0",
        "40.0",
        "10.0 (9.0-11.0)",
        "20.0",
        "-",
        "1.2",
        "2.8",
    ]
    assert table(text, "level of mask")[2:] == [["0", "3.5", "30.0"], ["2", "9.0", "10.0"]]
    assert table(text, "kind of ground truth")[3] == ["part", "234", "20.0 (19.0-21.0)"]
    assert "- 3 images have no answer and count as without masks.\n- Read recall." in text


def test_tables_without_content_are_left_out() -> None:
    text = suite_markdown(suite(set_report()))
    assert "level of mask" not in text and "kind of ground truth" not in text


def test_clicks_of_a_set() -> None:
    text = suite_markdown(suite(clicked()))
    assert table(text, "data set")[2] == [
        "COCO panoptic",
        "all 5,000",
        "321",
        "33.3 (32.0-34.5)",
        "44.4 (43.0-45.5)",
        "7.5 (7.0-8.0)",
    ]
    assert table(text, "IoU to reach")[2] == ["80 %", "7.5 (7.0-8.0)", "61.0 %"]


def test_skipped_sets_have_their_commands_and_no_figures() -> None:
    text = suite_markdown(suite(skipped=(SKIPPED, dataclasses.replace(SKIPPED, title="Other", command=""))))
    block = "  ```\n  python datasets/prepare_lvis.py IN OUT\n  ls OUT\n  ```"
    assert f"- **LVIS**: 4,809 of 5,000 images are there.\n\n{block}\n" in text
    assert text.endswith("- **Other**: 4,809 of 5,000 images are there.\n")
    assert "0.0" not in text


@pytest.mark.parametrize("title", ["a | b", "<b>bold</b>", "[link](x)", "`code`", "a *b* _c_", "&lt; \\"])
def test_names_stay_text(title: str) -> None:
    hostile: SetReport = set_report("mine", title)
    text = suite_markdown(suite(hostile, subject=title, skipped=(dataclasses.replace(SKIPPED, title=title),)))
    bare = text.replace("**", "")
    for sign in "|<[`*_&":
        assert bare.count(f"\\{sign}") >= 4 * title.count(sign)
    assert len(table(text, "data set")[2]) == len(table(text, "data set")[0])


def test_a_command_with_backticks_stays_in_its_block() -> None:
    text = suite_markdown(suite(skipped=(dataclasses.replace(SKIPPED, command="echo ```x```"),)))
    assert "  ````\n  echo ```x```\n  ````" in text


def test_figures_that_are_not_known() -> None:
    assert with_interval(math.nan, (1.0, 2.0)) == "-"
    assert with_interval(5.0, (math.nan, math.nan)) == "5.0"
