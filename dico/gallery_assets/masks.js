"use strict";

// Run-length codes, the hierarchy, and which mask is where. Pixels are numbered column by column, as in the codes.

const NONE = -1;
const SMALL_PX = 32 * 32;
const LARGE_PX = 96 * 96;

/** The masks' pixels as [start, end, start, end, ...], from a compressed COCO code. */
function decodeRuns(code) {
  const counts = [];
  for (let p = 0; p < code.length; ) {
    let value = 0, shift = 0, group;
    do {
      group = code.charCodeAt(p++) - 48;
      value |= (group & 31) << shift;
      shift += 5;
    } while (group & 32);
    if (group & 16) value |= -1 << shift;
    if (counts.length > 2) value += counts[counts.length - 2];
    counts.push(value);
  }
  const runs = [];
  for (let i = 0, at = 0; i < counts.length; at += counts[i++]) if (i % 2 && counts[i]) runs.push(at, at + counts[i]);
  return runs;
}

/** What a block of data says about an image, with the runs of its masks and their children. */
function readImage(index) {
  const image = JSON.parse(document.getElementById(`image-${index}`).textContent);
  const masks = image.area.map((_, n) => n);
  return {
    ...image,
    runs: image.counts.map(decodeRuns),
    children: masks.map((n) => masks.filter((m) => image.parent[m] === n)),
    bySize: masks.sort((a, b) => image.area[b] - image.area[a] || a - b),
    levels: [...new Set(image.level)].sort((a, b) => a - b),
    stops: granularities(image.theta),
  };
}

/**
 * The granularities of the slider: thetas at which another set of masks is cut, a hundredth or more apart, so that the
 * many fine masks do not take up most of its way. 0 (as the lowest that occurs) gives the roots, 1 the leaves.
 */
function granularities(theta) {
  const stops = [0];
  for (const t of [...new Set(theta)].sort((a, b) => a - b).slice(1)) {
    if (t < 1 && t >= stops[stops.length - 1] + 0.01) stops.push(t);
  }
  return [...stops, 1];
}

/** The cut through the hierarchy: from each root down, the first mask as fine as theta, or a leaf. */
function cutAtTheta(image, theta) {
  const stops = (n) => image.theta[n] >= theta || !image.children[n].length;
  const isTakenAbove = (n) => {
    for (let up = image.parent[n]; up !== NONE; up = image.parent[up]) if (stops(up)) return true;
    return false;
  };
  return image.bySize.filter((n) => stops(n) && !isTakenAbove(n));
}

/** For each pixel the smallest of some masks, given by falling size, or NONE. */
function labelMap(image, masks) {
  const labels = new Int32Array(image.view[0] * image.view[1]).fill(NONE);
  for (const n of masks) {
    const runs = image.runs[n];
    for (let i = 0; i < runs.length; i += 2) labels.fill(n, runs[i], runs[i + 1]);
  }
  return labels;
}

function sizeName(area) {
  return area < SMALL_PX ? "small" : area < LARGE_PX ? "medium" : "large";
}
