"""Refinement without its short cuts: a guided filter of loops, one on all of a view for each mask, and one binary CRF
on all of the image for each mask.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from dico.config import RefineConfig
from dico.image import Image


def guided_filter(
    guide_hw: NDArray[np.float64], input_hw: NDArray[np.float64], radius: int, eps: float
) -> NDArray[np.float64]:
    """He et al. 2013, Algorithm 1, on the guide and input continued by reflection."""
    height, width = guide_hw.shape
    side = 2 * radius + 1

    def mean(values_hw: NDArray[np.float64]) -> NDArray[np.float64]:
        padded = np.pad(values_hw, radius, mode="symmetric")
        return np.array([[padded[y : y + side, x : x + side].mean() for x in range(width)] for y in range(height)])

    covariance = mean(guide_hw * input_hw) - mean(guide_hw) * mean(input_hw)
    variance = mean(guide_hw * guide_hw) - mean(guide_hw) ** 2
    slope = covariance / (variance + eps)
    return mean(slope) * guide_hw + mean(mean(input_hw) - slope * mean(guide_hw))


def guided_mask(pixels_hw3: Image, mask_hw: NDArray[np.bool_], config: RefineConfig) -> NDArray[np.float64]:
    """One mask, filtered on all of a view in double precision."""
    radius = min(config.guided_radius, max(1, round(mask_hw.sum() ** 0.5 / 4)))
    guide_hw = along_contrast(pixels_hw3, mask_hw)

    def mean(values_hw: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(uniform_filter(values_hw, 2 * radius + 1, mode="reflect"))

    input_hw = mask_hw.astype(np.float64)
    covariance = mean(guide_hw * input_hw) - mean(guide_hw) * mean(input_hw)
    variance = mean(guide_hw * guide_hw) - mean(guide_hw) ** 2
    slope = covariance / (variance + config.guided_eps)
    return mean(slope) * guide_hw + mean(mean(input_hw) - slope * mean(guide_hw))


def along_contrast(pixels_hw3: Image, mask_hw: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Fisher's discriminant of a mask against all else, from the scatter of each, with the ridge of 1e-3."""
    colours_hw3 = pixels_hw3 / 255 - (pixels_hw3 / 255).mean(axis=(0, 1))
    groups = [colours_hw3[mask_hw], colours_hw3[~mask_hw]]
    direction = np.ones(3)
    if all(map(len, groups)):
        scatter = sum((group - group.mean(axis=0)).T @ (group - group.mean(axis=0)) for group in groups)
        difference = groups[0].mean(axis=0) - groups[1].mean(axis=0)
        solved = np.linalg.solve(scatter / mask_hw.size + 1e-3 * np.eye(3), difference)
        direction = solved if np.linalg.norm(solved) > 1e-6 else direction
    return np.asarray(colours_hw3 @ direction / np.linalg.norm(direction))


def binary_crf(image: Image, mask_HW: NDArray[np.bool_], config: RefineConfig) -> NDArray[np.bool_]:
    """One mask against background, on the whole image at full size, from the soft-maxed mask."""
    import pydensecrf.densecrf as densecrf

    height, width = mask_HW.shape
    evidence = np.exp(np.stack([~mask_HW, mask_HW]).astype(np.float64))
    energy = -np.log(evidence / evidence.sum(axis=0))
    crf = densecrf.DenseCRF2D(width, height, 2)
    crf.setUnaryEnergy(np.ascontiguousarray(energy.reshape(2, -1), dtype=np.float32))
    crf.addPairwiseGaussian(sxy=config.gaussian_sxy, compat=config.gaussian_compat)
    crf.addPairwiseBilateral(
        sxy=config.bilateral_sxy, srgb=config.bilateral_srgb, rgbim=image.copy(), compat=config.bilateral_compat
    )
    return np.argmax(np.array(crf.inference(config.iterations)), axis=0).reshape(height, width).astype(bool)
