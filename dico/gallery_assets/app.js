// The page: what is shown is in `state`; every control changes it and asks for what must be drawn anew.

const listing = JSON.parse(document.getElementById("listing").textContent);
const byId = (id) => document.getElementById(id);
const state = { index: 0, mode: "cut", theta: 0.4, level: 0, opacity: 0.55, mask: NONE, hovered: NONE };
let image = null; // the one that is shown, decoded
let photo = null; // its pixels
let shown = []; // masks that are shown, by falling size
let labels = null; // the smallest of them at each pixel

// ---------------------------------------------------------------- text

const count = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

function element(name, text = "", attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text; // never markup: names of files are anybody's text
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function describeStore() {
  const masks = listing.images.reduce((sum, one) => sum + one.masks, 0);
  const parts = [`${listing.images.length.toLocaleString("en")} of ${count(listing.labelled, "labelled image")}`, count(masks, "mask")];
  if (listing.failures.length) parts.push(`${listing.failures.length} failed`);
  if (listing.pending) parts.push(`${listing.pending} not labelled yet`);
  parts.push(`configuration ${listing.configHash}`);
  byId("store-name").textContent = listing.name;
  byId("summary").textContent = parts.join(" · ");
  document.title = `${listing.name} · mask gallery`;
  byId("failures").hidden = !listing.failures.length;
  byId("failures").querySelector("summary").textContent = `${count(listing.failures.length, "image")} failed`;
  for (const one of listing.failures) {
    const item = element("li");
    item.append(element("b", one.kind), ` ${one.path}`, element("small", one.error));
    byId("failures").querySelector("ul").append(item);
  }
}

function listImages() {
  listing.images.forEach((one, index) => {
    const item = element("li"), button = element("button", "", { type: "button", title: one.path }), label = element("span");
    const picture = one.thumbnail ? element("img", "", { src: one.thumbnail, alt: "", loading: "lazy" }) : element("span", "", { class: "blank" });
    label.append(element("span", one.path, { class: "name" }), element("small", `${index + 1} · ${count(one.masks, "mask")}`));
    button.append(picture, label);
    button.addEventListener("click", () => showImage(index));
    item.append(button);
    byId("images").append(item);
  });
}

function bars(body, rows) {
  const most = Math.max(1, ...rows.map((row) => row.all));
  body.replaceChildren(...rows.map(({ head, some, all }) => {
    const row = element("tr"), name = element("th", "", { scope: "row" }), cell = element("td"), bar = element("div", "", { class: "bar" }), number = element("td", `${some} `);
    for (const value of [all, some]) bar.append(element("i", "", { style: `width: ${(100 * value) / most}%` }));
    name.append(head);
    cell.append(bar);
    number.append(element("small", `/ ${all}`));
    row.append(name, cell, number);
    return row;
  }));
}

function describeShown() {
  const tally = (masks, key) => masks.reduce((sums, n) => ({ ...sums, [key(n)]: (sums[key(n)] ?? 0) + 1 }), {});
  const ofLevel = (n) => image.level[n], ofSize = (n) => sizeName(image.area[n]);
  const levels = [tally(shown, ofLevel), tally(image.bySize, ofLevel)];
  const sizes = [tally(shown, ofSize), tally(image.bySize, ofSize)];
  bars(byId("levels"), image.levels.map((level) => {
    const head = element("button", `level ${level}`, { type: "button", title: `Show level ${level} alone` });
    head.addEventListener("click", () => change({ mode: "level", level }));
    return { head, some: levels[0][level] ?? 0, all: levels[1][level] };
  }));
  const ranges = [["small", "< 32²"], ["medium", ""], ["large", "≥ 96² px"]];
  bars(byId("sizes"), ranges.map(([name, range]) => ({ head: `${name} ${range}`.trim(), some: sizes[0][name] ?? 0, all: sizes[1][name] ?? 0 })));
  const covered = labels.reduce((sum, label) => sum + (label !== NONE), 0) / labels.length;
  byId("shown").textContent = `${count(shown.length, "mask")} shown, ${Math.round(100 * covered)} % of the image`;
  byId("overlay").setAttribute("aria-label", `${count(shown.length, "mask")} over ${image.path}`);
}

function describeMask() {
  const n = state.mask, isNone = n === NONE;
  byId("mask-title").textContent = isNone ? "Mask" : `Mask ${n + 1}`;
  byId("mask-hint").hidden = !isNone;
  byId("mask-facts").hidden = byId("family").hidden = isNone;
  if (isNone) return;
  const parent = image.parent[n], pixels = image.size[0] * image.size[1];
  const share = (100 * image.area[n]) / pixels;
  const facts = {
    size: `${count(image.area[n], "px", "px")} (${share < 10 ? share.toPrecision(2) : Math.round(share)} %), ${sizeName(image.area[n])}`,
    score: image.score[n].toPrecision(3),
    level: image.level[n],
    theta: image.theta[n],
    parent: parent === NONE ? "none, it is a root" : `mask ${parent + 1}`,
    source: image.source[n] || "unknown",
  };
  byId("mask-facts").replaceChildren(...Object.entries(facts).map(([name, value]) => {
    const pair = element("div");
    pair.append(element("dt", name), element("dd", value));
    return pair;
  }));
  byId("to-parent").disabled = parent === NONE;
  byId("to-child").disabled = !image.children[n].length;
  byId("to-child").textContent = `↓ Largest of ${count(image.children[n].length, "part")}`;
}

// ---------------------------------------------------------------- drawing

async function showImage(index, wanted = {}) {
  if (!listing.images[index]) return;
  Object.assign(state, { index, mask: NONE, hovered: NONE, ...wanted });
  image = readImage(index);
  const mine = image;
  const pixels = await drawPhoto(byId("photo"), mine);
  if (mine !== image) return; // another image was asked for meanwhile
  photo = pixels;
  const [height, width] = image.size;
  byId("image-name").textContent = image.path;
  byId("image-facts").textContent = `${width} × ${height} px · ${count(image.area.length, "mask")} · ${count(image.levels.length, "level")}`;
  byId("photo").setAttribute("aria-label", `Photograph ${image.path}`);
  byId("note").hidden = !image.note;
  byId("note").textContent = image.note;
  byId("position").textContent = `${index + 1} of ${listing.images.length}`;
  byId("previous").disabled = index === 0;
  byId("next").disabled = index === listing.images.length - 1;
  byId("panes").style.setProperty("--aspect", image.view[1] / image.view[0]);
  byId("panes").classList.toggle("tiny", Math.max(...image.view) < 200);
  byId("theta").max = image.stops.length - 1;
  byId("level").replaceChildren(...image.levels.map((level) => element("option", level, { value: level })));
  document.querySelectorAll("#images button").forEach((button, i) => {
    button.toggleAttribute("aria-current", i === index);
    if (i === index) button.scrollIntoView({ block: "nearest" });
  });
  showMasks();
}

/** The position of the slider: the granularity of this image that gives what `state.theta` gives. */
function stopOfTheta() {
  const stop = image.stops.findIndex((value) => value >= state.theta - 1e-6);
  return stop < 0 ? image.stops.length - 1 : stop;
}

function showMasks() {
  if (!image.levels.includes(state.level)) state.level = image.levels[0] ?? 0;
  const theta = image.stops[stopOfTheta()];
  if (state.mode === "cut") shown = cutAtTheta(image, theta);
  else if (state.mode === "level") shown = image.bySize.filter((n) => image.level[n] === state.level);
  else shown = image.bySize;
  labels = labelMap(image, shown);
  document.querySelector(`input[name="mode"][value="${state.mode}"]`).checked = true;
  byId("cut-control").hidden = state.mode !== "cut";
  byId("level-control").hidden = state.mode !== "level";
  byId("theta").value = stopOfTheta();
  byId("level").value = state.level;
  const name = theta === 0 ? "θ 0, the roots" : theta === 1 ? "θ 1, the leaves" : `θ ${Number(theta.toFixed(3))}`;
  byId("theta-value").textContent = name;
  byId("theta").setAttribute("aria-valuetext", name);
  drawMasks(byId("overlay"), image, photo, labels, chooseColours(image, labels, shown), state.opacity);
  describeShown();
  light();
}

function light() {
  const [onPhoto, onMasks] = document.querySelectorAll("canvas.light");
  drawLight(onPhoto, image, state.mask, 0.35);
  drawLight(onMasks, image, state.mask, 0.45);
  describeMask();
  clearTimeout(addressTimer); // browsers refuse pages that change their address with every move of the mouse
  addressTimer = setTimeout(writeAddress, 300);
}

function change(values) {
  Object.assign(state, { mask: NONE, hovered: NONE }, values);
  if (image) showMasks();
}

function select(mask) {
  if (mask === state.mask || mask === undefined) return;
  state.mask = mask;
  light();
}

// ---------------------------------------------------------------- the address: an image, its masks and one of them

let lastAddress = "";
let addressTimer = 0;

function writeAddress() {
  const parts = { image: state.index + 1, show: state.mode };
  if (state.mode === "cut") parts.theta = image.stops[stopOfTheta()];
  if (state.mode === "level") parts.level = state.level;
  if (state.mask !== NONE) parts.mask = state.mask + 1;
  lastAddress = `#${new URLSearchParams(parts)}`;
  if (location.hash !== lastAddress) location.replace(lastAddress);
}

function readAddress() {
  if (location.hash === lastAddress && lastAddress) return;
  const parts = new URLSearchParams(location.hash.slice(1));
  const number = (name, other) => (parts.has(name) && Number.isFinite(+parts.get(name)) ? +parts.get(name) : other);
  const index = Math.min(Math.max(number("image", 1), 1), listing.images.length) - 1;
  const mode = ["cut", "level", "all"].includes(parts.get("show")) ? parts.get("show") : "cut";
  const mask = number("mask", 0) - 1;
  const exists = Number.isInteger(mask) && mask >= 0 && mask < listing.images[index].masks;
  showImage(index, { mode, theta: number("theta", state.theta), level: number("level", 0), mask: exists ? mask : NONE });
}

// ---------------------------------------------------------------- what people do

function maskUnder(event) {
  const box = event.currentTarget.getBoundingClientRect();
  const [height, width] = image.view;
  const x = Math.floor(((event.clientX - box.left) / box.width) * width);
  const y = Math.floor(((event.clientY - box.top) / box.height) * height);
  return x >= 0 && y >= 0 && x < width && y < height ? labels[x * height + y] : NONE;
}

for (const stack of document.querySelectorAll(".stack")) {
  stack.addEventListener("pointermove", (event) => {
    const under = maskUnder(event);
    if (under === state.hovered) return; // a parent that was stepped to stays lit until another mask is entered
    state.hovered = under;
    select(under);
  });
  stack.addEventListener("pointerleave", () => {
    if (state.mask === state.hovered) select(NONE);
    state.hovered = NONE;
  });
  stack.addEventListener("click", (event) => {
    const under = maskUnder(event);
    const parent = state.mask === NONE ? NONE : image.parent[state.mask];
    select(parent !== NONE && under === state.hovered ? parent : under);
    state.hovered = under;
  });
}

function stepMask(by) {
  if (!shown.length) return;
  const at = shown.indexOf(state.mask);
  select(shown[at < 0 ? (by > 0 ? 0 : shown.length - 1) : (at + by + shown.length) % shown.length]);
}

function stepFineness(by) {
  const step = (values, at) => values[Math.min(Math.max(at + by, 0), values.length - 1)];
  if (state.mode === "cut") change({ theta: step(image.stops, stopOfTheta()) });
  if (state.mode === "level") change({ level: step(image.levels, image.levels.indexOf(state.level)) });
}

const stepToParent = () => state.mask !== NONE && image.parent[state.mask] !== NONE && select(image.parent[state.mask]);
const stepToChild = () => state.mask !== NONE && select(image.bySize.find((n) => image.parent[n] === state.mask));

const KEYS = {
  ArrowLeft: () => showImage(state.index - 1),
  ArrowRight: () => showImage(state.index + 1),
  ArrowUp: stepToParent,
  ArrowDown: stepToChild,
  ",": () => stepFineness(-1),
  ".": () => stepFineness(1),
  n: () => stepMask(1),
  b: () => stepMask(-1),
  "/": () => byId("search").focus(),
  "?": () => byId("help").showModal(),
  Escape: () => select(NONE),
};

document.addEventListener("keydown", (event) => {
  const isTaken = event.target.matches(event.key.startsWith("Arrow") ? "input, select" : "input[type=search], select");
  if (isTaken || byId("help").open || event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key] || !image) return;
  event.preventDefault();
  KEYS[event.key]();
});

function find(text) {
  const wanted = text.trim().toLowerCase();
  const isFound = (one, index) => one.path.toLowerCase().includes(wanted) || String(index + 1) === wanted;
  const found = listing.images.map(isFound);
  document.querySelectorAll("#images li").forEach((item, index) => (item.hidden = !found[index]));
  byId("matches").textContent = wanted ? `${count(found.filter(Boolean).length, "image")} found` : "";
  const exact = Number.isInteger(+wanted) && wanted ? +wanted - 1 : NONE;
  return found[exact] ? exact : found.indexOf(true);
}

byId("search").addEventListener("input", (event) => find(event.target.value));
byId("search").addEventListener("keydown", (event) => {
  if (event.key === "Enter") showImage(find(event.target.value));
  if (event.key === "Escape") event.target.blur();
});
byId("controls").addEventListener("submit", (event) => event.preventDefault());
byId("controls").addEventListener("change", (event) => event.target.name === "mode" && change({ mode: event.target.value }));
byId("theta").addEventListener("input", (event) => change({ theta: image.stops[+event.target.value] }));
byId("level").addEventListener("change", (event) => change({ level: +event.target.value }));
byId("opacity").addEventListener("input", (event) => change({ opacity: +event.target.value / 100, mask: state.mask }));
byId("previous").addEventListener("click", KEYS.ArrowLeft);
byId("next").addEventListener("click", KEYS.ArrowRight);
byId("to-parent").addEventListener("click", stepToParent);
byId("to-child").addEventListener("click", stepToChild);
byId("help-button").addEventListener("click", KEYS["?"]);
window.addEventListener("hashchange", readAddress);

describeStore();
listImages();
if (listing.images.length) readAddress();
else for (const part of byId("stage").children) part.hidden = part.id !== "nothing";
