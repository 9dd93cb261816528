"""Histogram gradients as a loop: for every pixel, the two windows beside it, weight by weight."""

import math

import numpy as np


def window_mean(bins_BHW, y, x, *, sigma, truncate):
    """The mean histogram (B,) under a Gaussian window; beyond the image, the pixels of its edge are repeated."""
    num_bins, height, width = bins_BHW.shape
    reach = int(truncate * sigma + 0.5)
    mean_B, total = np.zeros(num_bins), 0.0
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            weight = math.exp(-(dy * dy + dx * dx) / (2 * sigma * sigma))
            inside_y, inside_x = min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1)
            mean_B += weight * bins_BHW[:, inside_y, inside_x]
            total += weight
    return mean_B / total


def chi_squared(one_B, other_B):
    """0 for equal histograms, 1 for those that share nothing."""
    return 0.5 * sum((a - b) ** 2 / (a + b) for a, b in zip(one_B, other_B, strict=True) if a + b > 0)


def gradients_by_loop(bins_BHW, radius, *, num_orientations, window, offset, truncate):
    """(O, H, W): the square root of the distance of the two windows; their centres stay inside of the image."""
    _, height, width = bins_BHW.shape
    means = {
        (y, x): window_mean(bins_BHW, y, x, sigma=window * radius, truncate=truncate)
        for y in range(height)
        for x in range(width)
    }
    gradients_OHW = np.zeros((num_orientations, height, width))
    for o in range(num_orientations):
        angle = math.pi * o / num_orientations
        step_y, step_x = round(offset * radius * math.sin(angle)), round(offset * radius * math.cos(angle))
        for y in range(height):
            for x in range(width):
                ahead, behind = (
                    means[min(max(y + way * step_y, 0), height - 1), min(max(x + way * step_x, 0), width - 1)]
                    for way in (1, -1)
                )
                gradients_OHW[o, y, x] = math.sqrt(chi_squared(ahead, behind))
    return gradients_OHW
