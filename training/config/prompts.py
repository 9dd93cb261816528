"""The prompts that a promptable model is trained with."""

from __future__ import annotations

from dataclasses import dataclass

from dico.config_loading import require


@dataclass(frozen=True)
class PromptConfig:
    """How clicks and boxes are drawn for the masks of an image."""

    per_image: int = 60
    """Prompts an image; each is drawn for one of its masks, in turns."""
    targets: int = 6
    """Of the masks that a prompt may mean, at most so many are asked for; at most as many as it is answered with."""
    box_share: float = 0.2
    """So many of the prompts are boxes, the others clicks."""
    click_px: int = 6
    """A click is a square box of this side."""
    jitter: float = 0.4
    """The centre and the sides of a box are moved by at most this share of half its sides,"""
    click_jitter: float = 0.004
    """and those of a click by this."""
    corrected_share: float = 0.5
    """So many of the prompts are answered and corrected before they are learnt from,"""
    corrections: int = 3
    """with one to so many further clicks, each where the answer is wrong; 0 leaves all prompts as they are."""

    def __post_init__(self) -> None:
        for name in ("per_image", "targets", "click_px"):
            require(getattr(self, name) >= 1, f"prompts.{name}", "at least 1", getattr(self, name))
        for name in ("box_share", "jitter", "click_jitter", "corrected_share"):
            require(0 <= getattr(self, name) <= 1, f"prompts.{name}", "within [0, 1]", getattr(self, name))
        require(self.corrections >= 0, "prompts.corrections", "at least 0", self.corrections)
