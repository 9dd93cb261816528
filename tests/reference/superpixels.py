"""The borders of a label map as a loop over pixels, with dictionaries."""


def borders_by_loop(labels_HW):
    """The pairs of flat pixel indices across each border, keyed by the two labels, in reading order."""
    height, width = labels_HW.shape
    pixels = {}
    for y in range(height):
        for x in range(width):
            for y1, x1 in ((y, x + 1), (y + 1, x)):
                if y1 < height and x1 < width and labels_HW[y, x] != labels_HW[y1, x1]:
                    pair = tuple(sorted((int(labels_HW[y, x]), int(labels_HW[y1, x1]))))
                    pixels.setdefault(pair, []).append((y * width + x, y1 * width + x1))
    return pixels


def histograms_by_loop(labels_HW, words_HW, num_words):
    """The share of each word among the pixels of each label, as nested lists."""
    rows = []
    for label in range(int(labels_HW.max()) + 1):
        words = words_HW[labels_HW == label].tolist()
        rows.append([words.count(word) / len(words) for word in range(num_words)])
    return rows
