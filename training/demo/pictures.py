"""What a tab shows: the photograph with its masks and clicks, and the six masks of a prompt beside one another.

Axes: N masks, H W pixels of what is drawn.
"""

from __future__ import annotations

import numpy as np
import PIL.Image
import PIL.ImageDraw
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from dico.image import Image, resize_image
from dico.mask_codes import encode_mask
from dico.masks import MaskSet
from dico.painting import paint
from training.demo.clicks import Click, Use, box_of, open_corner
from training.demo.session import Answer, Session

VIEW_SIDE = 1024
"""The longer side of the picture; small photographs are enlarged, so that a click can name each of their pixels."""
THUMBNAIL_SIDE = 220
ACCENT = (255, 138, 31)
COLOURS = {Use.WANTED: (34, 160, 84), Use.NOT_WANTED: (214, 48, 49), Use.CORNER: (70, 70, 70)}
_FINER = 8  # marks are drawn so many times larger, then reduced: smooth


def view_size(size_hw: tuple[int, int], side: int = VIEW_SIDE) -> tuple[int, int]:
    """Height and width at which a photograph is shown, with a longer side of ``side`` pixels.

    Example:
        >>> view_size((100, 200), side=1024), view_size((9000, 1), side=1024)
        ((512, 1024), (1024, 1))
    """
    scale = side / max(size_hw)
    return max(1, round(size_hw[0] * scale)), max(1, round(size_hw[1] * scale))


def resized_masks(masks: MaskSet, size_hw: tuple[int, int]) -> MaskSet:
    """The masks at another size: each pixel is as the one under its middle.

    Args:
        masks: Any.
        size_hw: New height and width in pixels.
    """
    rows_H, columns_W = (
        ((np.arange(new) + 0.5) * old / new).astype(np.int64) for new, old in zip(size_hw, masks.size_hw, strict=True)
    )
    rles = tuple(encode_mask(mask_HW[rows_H[:, None], columns_W]) for mask_HW in masks.iter_decoded())
    return masks.with_fields(size_hw=size_hw, rles=rles)


def draw(session: Session) -> Image:
    """The photograph of a tab, its masks and its clicks: uint8 (H, W, 3), as large as :func:`view_size` says."""
    size_hw = view_size(session.size_hw)
    view = resize_image(session.image, size_hw)
    answer = session.answer
    if answer is None:
        return _with_clicks(view, session)
    masks = resized_masks(answer.shown(), size_hw)
    if answer.is_everything:
        return paint(view, masks)
    return _with_clicks(spotlight(view, masks.decode()[0], border_px=3), session)


def draw_choices(session: Session) -> list[Image]:
    """The masks of a prompt, each on a small photograph; none where there is no prompt."""
    answer = session.answer
    if answer is None or answer.is_everything:
        return []
    size_hw = view_size(session.size_hw, THUMBNAIL_SIDE)
    small = resize_image(session.image, size_hw)
    return [spotlight(small, mask_HW, border_px=1) for mask_HW in resized_masks(answer.masks, size_hw).iter_decoded()]


def draw_result(image: Image, answer: Answer) -> PIL.Image.Image:
    """What there is to take home, at the photograph's own size.

    Args:
        image: uint8 (H, W, 3), the photograph.
        answer: Of it.

    Returns:
        RGBA, the photograph where the chosen mask is, transparent elsewhere; or of everything RGB, painted.
    """
    if answer.is_everything:
        return PIL.Image.fromarray(paint(image, answer.shown()))
    alpha_HW = np.where(answer.shown().decode()[0], np.uint8(255), np.uint8(0))
    return PIL.Image.fromarray(np.dstack([image, alpha_HW]))


def spotlight(image: Image, mask_HW: NDArray[np.bool_], *, border_px: int) -> Image:
    """The image, dark outside of a mask, and a coloured border along the inside of it.

    Args:
        image: uint8 (H, W, 3).
        mask_HW: bool.
        border_px: Width of the border.

    Returns:
        uint8 (H, W, 3).
    """
    lit = np.where(mask_HW[:, :, None], image, image // 3)
    lit[mask_HW & ~binary_erosion(mask_HW, iterations=border_px)] = ACCENT
    return lit.astype(np.uint8)


def _with_clicks(view: Image, session: Session) -> Image:
    """The view with the clicks and the box of a tab on it."""
    picture = PIL.Image.fromarray(view)
    scale_x, scale_y = view.shape[1] / session.size_hw[1], view.shape[0] / session.size_hw[0]
    box = box_of(session.clicks)
    if box is not None:
        edges = (box[0] * scale_x, box[1] * scale_y, box[2] * scale_x - 1, box[3] * scale_y - 1)
        PIL.ImageDraw.Draw(picture).rectangle(edges, outline="white", width=3)
    corner = open_corner(session.clicks)
    for click in [c for c in session.clicks if c.use is not Use.CORNER] + ([corner] if corner else []):
        mark = _mark(click, max(18, max(picture.size) // 42))
        middle = (click.x + 0.5) * scale_x, (click.y + 0.5) * scale_y
        corner_xy = (round(middle[0] - mark.width / 2), round(middle[1] - mark.height / 2))
        picture.paste(mark, corner_xy, mark)
    return np.asarray(picture, dtype=np.uint8)


def _mark(click: Click, side: int) -> PIL.Image.Image:
    """RGBA: a disc with a white rim, and in it plus, minus, or for a corner of a box nothing."""
    large = side * _FINER
    mark = PIL.Image.new("RGBA", (large, large))
    pen = PIL.ImageDraw.Draw(mark)
    pen.ellipse((0, 0, large - 1, large - 1), fill="white")
    rim = large // 10
    pen.ellipse((rim, rim, large - 1 - rim, large - 1 - rim), fill=COLOURS[click.use])
    arm, half = large * 3 // 11, large // 18
    middle = large // 2
    if click.use is not Use.CORNER:
        pen.rectangle((middle - arm, middle - half, middle + arm, middle + half), fill="white")
    if click.use is Use.WANTED:
        pen.rectangle((middle - half, middle - arm, middle + half, middle + arm), fill="white")
    return mark.resize((side, side), PIL.Image.Resampling.BOX)
