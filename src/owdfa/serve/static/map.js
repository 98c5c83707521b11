// An embedding map: up to 100,000 points with pan, zoom, lasso, picking and a legend, on plain canvas.
//
//     import { createMap } from "./map.js";             // and <link rel="stylesheet" href="map.css">
//     const map = createMap(element, {                  // an empty element that has a height
//       points: Float32Array.of(x0, y0, x1, y1),        // y goes up; a point that is no number is not drawn
//       categories: Int16Array.of(0, -1),               // index into names, of each point; -1 is none
//       names: ["novel-7f3a"],                          // of the categories, for the legend
//       colours: ["#2f66b3"],                           // optional: CSS, by category; see below
//       label: (index) => "photo.jpg",                  // optional: text of the tip
//       picture: (index) => "/thumbnails/1.jpg",        // optional: address of an image in the tip
//       onSelect: (indices) => {},                      // optional: Uint32Array, ascending, when the user chose
//       onPick: (index) => {},                          // optional: a click, a tap or Enter on a point
//     });
//     map.recolour(categories, names, colours)   // the same points in other groups: view and selection stay
//     map.select(indices)                        // from the page; onSelect is not called
//     map.emphasise(category)                    // all else is dimmed; null ends it
//     map.focus(index)                           // bring a point to the middle
//     map.fit(), map.resize(), map.setMode("lasso" or "pan"), map.destroy()
//     map.selected                               // Uint32Array, ascending
//
// Without `colours` the eight largest categories have a colour (--map-1 to --map-8 of map.css, chosen
// for the colour-blind, others in the dark) and a shape each; the rest is grey (--map-rest).
// What is selected, or else emphasised, keeps its colour and lies on top; all else is dimmed.
// The page gives --sheet, --ink, --soft, --rule and --veil. A new size or theme is followed.
//
// Mouse: drag pans, the wheel zooms, a click picks; Shift+drag draws a lasso that adds, Alt+drag one
// that takes away, Shift+click adds or takes away one point; in lasso mode a drag selects anew.
// Touch: the same without Shift; two fingers pan and zoom.
// Keys, while the map has the focus (it takes no others): see KEYS in map_parts.js.

import { dimmed, inside, NUM_SHAPES, pixel, Raster, shuffled } from "./map_draw.js";
import { listen } from "./map_input.js";
import { build, drawAbove, drawLegend, showTip } from "./map_parts.js";
import { View } from "./map_view.js";

const NUM_COLOURS = 8;
const MAX_RADIUS = 7; // CSS pixels

export const createMap = (element, options) => new EmbeddingMap(element, options);

class EmbeddingMap {
  mode = "pan";
  lasso = null; // corners in CSS pixels, while one is drawn
  #element;
  #options;
  #points;
  #num;
  #scene; // see Raster.draw
  #selected; // 1 for a point that is
  #numSelected = 0;
  #emphasised = null;
  #hovered = -1;
  #frame = 0; // of the animation, that will draw
  #ended = new AbortController();

  constructor(element, { points, categories, names, colours, ...options }) {
    this.#options = { label: (index) => `${index + 1}`, onSelect() {}, onPick() {}, ...options };
    this.#element = element;
    this.#points = points;
    this.#num = points.length >> 1;
    this.#selected = new Uint8Array(this.#num);
    this.#scene = { points, order: shuffled(this.#num), group: new Uint8Array(this.#num) };
    this.view = new View(points);
    this.parts = build(this, element);
    this.surface = this.parts.surface;
    this.raster = new Raster(this.parts.canvas);
    this.setMode("pan");
    this.recolour(categories, names, colours);
    this.resize();
    this.fit();
    this.#watch();
  }

  #watch() {
    const { signal } = this.#ended;
    listen(this, signal);
    const sizes = new ResizeObserver(() => this.resize());
    sizes.observe(this.parts.stage);
    signal.addEventListener("abort", () => sizes.disconnect());
    addEventListener("resize", () => this.resize(), { signal }); // the page's zoom
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.restyle(), { signal });
  }

  get selected() {
    return Uint32Array.from(this.#where((i) => this.#selected[i]));
  }

  recolour(categories, names, colours = null) {
    Object.assign(this, { categories, names, colours });
    this.counts = new Uint32Array(names.length);
    for (const category of categories) if (category >= 0) this.counts[category]++;
    const ranked = [...names.keys()].filter((each) => this.counts[each]);
    ranked.sort((a, b) => this.counts[b] - this.counts[a]);
    this.shown = colours ? ranked : ranked.slice(0, NUM_COLOURS);
    const grey = this.shown.length;
    const looks = new Uint16Array(names.length).fill(grey);
    this.shown.forEach((category, look) => (looks[category] = look));
    this.#scene.look = Uint16Array.from(categories, (each) => (each < 0 ? grey : looks[each]));
    this.#emphasised = null;
    this.restyle();
  }

  /** Read the colours of the page's theme again. */
  restyle() {
    const style = getComputedStyle(this.#element);
    const read = (name) => style.getPropertyValue(name).trim();
    Object.assign(this, { background: pixel(read("--sheet")), ink: read("--ink"), veil: read("--veil") });
    this.looks = this.shown.map((category, look) => ({
      shape: look % NUM_SHAPES,
      colour: pixel(this.colours ? this.colours[category] : read(`--map-${look + 1}`)),
    }));
    const entries = this.shown.map((category, look) => ({
      ...this.looks[look], category, name: this.names[category], count: this.counts[category],
    }));
    const others = this.#num - entries.reduce((sum, { count }) => sum + count, 0);
    const press = (category) => this.emphasise(category === this.#emphasised ? null : category);
    drawLegend(this.parts.legend, entries, others, press);
    this.looks.push({ shape: 0, colour: pixel(read("--map-rest")) });
    this.#regroup();
  }

  resize() {
    const { canvas, surface, stage } = this.parts;
    const { clientWidth: width, clientHeight: height } = stage;
    const same = width === this.view.width && height === this.view.height && this.ratio === devicePixelRatio;
    if (!width || !height || same) return;
    const first = !this.view.width;
    this.ratio = devicePixelRatio;
    this.view.resize(width, height);
    for (const each of [canvas, surface]) {
      each.width = Math.round(width * this.ratio);
      each.height = Math.round(height * this.ratio);
    }
    this.raster.resize(canvas.width, canvas.height, MAX_RADIUS * this.ratio);
    if (first) this.view.fit();
    this.#paint(); // at once: a canvas of a new size is empty
  }

  fit() {
    this.view.fit();
    this.#draw();
  }

  focus(index) {
    this.view.centre(this.#points[2 * index], this.#points[2 * index + 1]);
    this.#draw();
  }

  pan(x, y) {
    this.view.pan(x, y);
    this.#draw();
  }

  zoom(factor, x, y) {
    this.view.zoom(factor, x, y);
    this.#draw();
  }

  setMode(mode) {
    this.mode = mode;
    this.surface.classList.toggle("lasso", mode === "lasso");
    this.parts.lasso.setAttribute("aria-pressed", mode === "lasso");
  }

  select(indices) {
    this.#selected.fill(0);
    for (const index of indices) this.#selected[index] = 1;
    this.#regroup();
  }

  emphasise(category) {
    this.#emphasised = category;
    this.#regroup();
  }

  destroy() {
    this.#ended.abort();
    cancelAnimationFrame(this.#frame);
    this.#element.classList.remove("map");
    this.#element.replaceChildren();
  }

  // What map_input.js calls.

  pick(index) {
    this.#options.onPick(index);
  }

  toggle(index) {
    this.#choose([index], this.#selected[index] ? "remove" : "add");
  }

  selectGroup(index) {
    const category = this.categories[index];
    this.#choose(this.#where((i) => this.categories[i] === category), "replace");
  }

  selectView() {
    const { width, height } = this.view;
    this.#enclose([[0, 0], [width, 0], [width, height], [0, height]], "replace");
  }

  clear() {
    this.#emphasised = null;
    this.#choose([], "replace");
  }

  /** End the lasso; `change` is what it does to the selection: "replace", "add" or "remove". */
  closeLasso(change) {
    const corners = this.lasso ?? [];
    this.lasso = null;
    if (corners.length > 2) this.#enclose(corners, change);
  }

  /** The point that is nearest to a place in CSS pixels and at most `reach` away; -1 is none. */
  nearest(x, y, reach = 12) {
    const [atX, atY] = this.view.data(x, y);
    let [best, found] = [(reach / this.view.scale) ** 2, -1];
    for (let i = 0; i < this.#num; i++) {
      const distance = (this.#points[2 * i] - atX) ** 2 + (this.#points[2 * i + 1] - atY) ** 2;
      if (distance < best) [best, found] = [distance, i];
    }
    return found;
  }

  /** The point that keys act on: the nearest to the middle. */
  central() {
    const { width, height } = this.view;
    return this.nearest(width / 2, height / 2, Math.min(width, height) / 2);
  }

  hover(index) {
    if (index === this.#hovered) return;
    this.#hovered = index;
    this.drawOver();
  }

  /** Say to a screen reader what the keys have led to. */
  tell() {
    const index = this.central();
    const here = index < 0 ? "no image here" : this.#options.label(index);
    this.parts.told.textContent = `${this.parts.count.textContent}; ${here}`;
  }

  /** Draw the lasso, and the ring and the tip of the point that is under the mouse or the keys. */
  drawOver() {
    const byKeys = this.#hovered < 0 && this.surface.matches(":focus-visible");
    const marked = this.lasso ? -1 : byKeys ? this.central() : this.#hovered;
    this.parts.tip.hidden = marked < 0;
    const at = marked < 0 ? null : this.view.place(this.#points[2 * marked], this.#points[2 * marked + 1]);
    const ring = at && { x: at[0], y: at[1], radius: this.radius + 4 };
    drawAbove(this.surface, this.ratio, { ring, lasso: this.lasso, ink: this.ink, veil: this.veil });
    if (at) showTip(this.parts, at, this.#options.label(marked), this.#options.picture?.(marked));
  }

  #where(test) {
    const found = [];
    for (let i = 0; i < this.#num; i++) if (test(i)) found.push(i);
    return found;
  }

  #enclose(corners, change) {
    this.#choose(inside(this.#points, corners.map(([x, y]) => this.view.data(x, y))), change);
  }

  #choose(indices, change) {
    if (change === "replace") this.#selected.fill(0);
    for (const index of indices) this.#selected[index] = change === "remove" ? 0 : 1;
    this.#regroup();
    this.#options.onSelect(this.selected);
  }

  /** Set what stands out, after a change of selection, emphasis or categories. */
  #regroup() {
    const { group } = this.#scene;
    this.#numSelected = this.#selected.reduce((sum, each) => sum + each, 0);
    if (this.#numSelected) group.set(this.#selected);
    else if (this.#emphasised === null) group.fill(1);
    else for (let i = 0; i < this.#num; i++) group[i] = this.categories[i] === this.#emphasised;
    const [chosen, all] = [this.#numSelected, this.#num].map((each) => each.toLocaleString("en"));
    this.parts.count.textContent = this.#numSelected ? `${chosen} of ${all} selected` : `${all} images`;
    for (const button of this.parts.legend.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", Number(button.dataset.category) === this.#emphasised);
    }
    this.#draw();
  }

  #draw() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#paint();
    });
  }

  #paint() {
    if (!this.view.width) return; // not shown yet
    const { view, ratio, raster, looks, background } = this;
    const roomy = Math.sqrt((0.1 * view.width * view.height) / (this.#num + 1));
    const grown = Math.min(4, Math.max(1.5, roomy)) * (view.scale / view.fitting) ** 0.3;
    this.radius = Math.min(MAX_RADIUS, grown);
    const scaled = { scale: view.scale * ratio, offsetX: view.offsetX * ratio, offsetY: view.offsetY * ratio };
    const radius = Math.round(4 * this.radius * ratio) / 4; // few sizes: their shapes are kept
    raster.clear(background);
    if (this.#numSelected || this.#emphasised !== null) {
      const weak = looks.map(({ shape, colour }) => ({ shape, colour: dimmed(colour, background) }));
      raster.draw(this.#scene, 0, scaled, weak, radius);
    }
    raster.draw(this.#scene, 1, scaled, looks, radius);
    raster.show();
    this.drawOver();
  }
}
