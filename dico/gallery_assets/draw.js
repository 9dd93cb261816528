// Drawing: the photograph, the masks over it, and the light on one mask. Canvases have the size of the reduced image.

const BORDER = [255, 255, 255];
const SHADE = [0, 0, 0];
const PLAIN = [200, 200, 196]; // where there is no photograph
const LIT = [255, 196, 61];
const PARENT = [64, 224, 240];

const PALETTE = [
  [230, 97, 40], [52, 131, 219], [242, 190, 48], [128, 82, 196], [84, 178, 72], [222, 82, 145],
  [38, 178, 176], [160, 104, 60], [176, 206, 60], [110, 120, 232], [208, 60, 60], [150, 190, 230],
];

/** A colour for each mask that is shown: its own, or the next one that no mask beside it has. */
function chooseColours(image, labels, shown) {
  const beside = new Map(shown.map((n) => [n, new Set()]));
  const height = image.view[0];
  const meet = (a, b) => a !== b && a !== NONE && b !== NONE && (beside.get(a).add(b), beside.get(b).add(a));
  for (let i = 0; i < labels.length; i++) {
    if (i + height < labels.length) meet(labels[i], labels[i + height]);
    if ((i + 1) % height) meet(labels[i], labels[i + 1]);
  }
  const chosen = new Map();
  for (const n of shown) {
    const taken = new Set([...beside.get(n)].map((other) => chosen.get(other)));
    let index = n % PALETTE.length;
    for (let tries = 0; taken.has(index) && tries < PALETTE.length; tries++) index = (index + 1) % PALETTE.length;
    chosen.set(n, index);
  }
  return (n) => PALETTE[chosen.get(n)];
}

function fitCanvas(canvas, [height, width]) {
  canvas.width = width;
  canvas.height = height;
  return canvas.getContext("2d", { willReadFrequently: true });
}

/** Draws the photograph, or a plain ground where there is none, and gives its pixels. */
async function drawPhoto(canvas, image) {
  const context = fitCanvas(canvas, image.view);
  const [height, width] = image.view;
  context.fillStyle = `rgb(${PLAIN})`;
  context.fillRect(0, 0, width, height);
  if (image.photo) {
    const picture = new Image();
    picture.src = image.photo;
    await picture.decode();
    context.drawImage(picture, 0, 0, width, height);
  }
  return context.getImageData(0, 0, width, height).data;
}

/** Draws the masks of a label map over the photograph, with light borders; what no mask covers is dimmed. */
function drawMasks(canvas, image, photo, labels, colourOf, opacity) {
  const context = fitCanvas(canvas, image.view);
  const [height, width] = image.view;
  const pixels = context.createImageData(width, height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const to = 4 * (y * width + x), here = x * height + y, label = labels[here];
      const isBorder = (x + 1 < width && labels[here + height] !== label) || (y + 1 < height && labels[here + 1] !== label);
      const colour = label === NONE ? SHADE : isBorder ? BORDER : colourOf(label);
      const share = isBorder && label !== NONE ? 0.25 + 0.6 * opacity : opacity * (label === NONE ? 0.7 : 1);
      for (let k = 0; k < 3; k++) pixels.data[to + k] = photo[to + k] * (1 - share) + colour[k] * share;
      pixels.data[to + 3] = 255;
    }
  }
  context.putImageData(pixels, 0, 0);
}

/** Dims all but one mask and outlines it, and its parent in another colour; NONE takes the light away. */
function drawLight(canvas, image, mask, dim) {
  const context = fitCanvas(canvas, image.view);
  if (mask === NONE) return;
  const [height, width] = image.view;
  const pixels = context.createImageData(width, height);
  const inside = labelMap(image, [mask]);
  for (let x = 0; x < width; x++) {
    for (let y = 0; y < height; y++) if (inside[x * height + y] === NONE) pixels.data[4 * (y * width + x) + 3] = 255 * dim;
  }
  if (image.parent[mask] !== NONE) outline(pixels, labelMap(image, [image.parent[mask]]), PARENT);
  outline(pixels, inside, LIT);
  context.putImageData(pixels, 0, 0);
}

/** Colours the pixels of a mask within two pixels of its border; the image's own border counts as one. */
function outline(pixels, labels, colour) {
  const { width, height, data } = pixels;
  const isOut = (x, y) => x < 0 || y < 0 || x >= width || y >= height || labels[x * height + y] === NONE;
  for (let x = 0; x < width; x++) {
    for (let y = 0; y < height; y++) {
      if (isOut(x, y)) continue;
      if (isOut(x - 2, y) || isOut(x + 2, y) || isOut(x, y - 2) || isOut(x, y + 2) ||
          isOut(x - 1, y) || isOut(x + 1, y) || isOut(x, y - 1) || isOut(x, y + 1)) {
        data.set([...colour, 255], 4 * (y * width + x));
      }
    }
  }
}
