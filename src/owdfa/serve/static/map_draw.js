// The pixels of the embedding map: shapes, colours, and 100,000 of them in one image.
//
// Points are written into an ImageData and not drawn by canvas calls: it is fast without a GPU, needs
// no WebGL, and evaluates no text, so the strictest Content-Security-Policy holds.

const { abs, max, min } = Math;

/** Shapes as tests of a point (u right, v down) of [-1, 1]^2, of about one area: readable without colour. */
const SHAPES = [
  (u, v) => u * u + v * v <= 0.72, // circle
  (u, v) => max(abs(u), abs(v)) <= 0.75, // square
  (u, v) => v <= 0.72 && v >= 2 * abs(u) - 1, // triangle
  (u, v) => abs(u) + abs(v) <= 1, // diamond
  (u, v) => v >= -0.72 && -v >= 2 * abs(u) - 1, // triangle that stands on its tip
  (u, v) => min(abs(u), abs(v)) <= 0.34 && max(abs(u), abs(v)) <= 1, // plus
  (u, v) => abs(abs(u) - abs(v)) <= 0.42 && max(abs(u), abs(v)) <= 0.95, // cross
  (u, v) => u * u + v * v <= 1 && u * u + v * v >= 0.26, // ring
];
export const NUM_SHAPES = SHAPES.length;
const SAMPLES = [-0.375, -0.125, 0.125, 0.375]; // of a pixel, each way

/** A shape of a radius in pixels: [dx, dy, coverage of 1 to 256] of every pixel that it touches. */
function coverage(shape, radius) {
  const reach = Math.ceil(radius);
  const covered = [];
  for (let dy = -reach; dy <= reach; dy++) {
    for (let dx = -reach; dx <= reach; dx++) {
      let hits = 0;
      for (const a of SAMPLES) for (const b of SAMPLES) hits += SHAPES[shape]((dx + a) / radius, (dy + b) / radius);
      if (hits) covered.push([dx, dy, hits * 16]);
    }
  }
  return covered;
}

/** A pixel: the share `alpha` of 256 of one colour over another, both 0xAABBGGRR. */
function mix(over, under, alpha) {
  const rest = 256 - alpha;
  const redBlue = (((over & 0xff00ff) * alpha + (under & 0xff00ff) * rest) >>> 8) & 0xff00ff;
  const green = (((over >>> 8) & 0xff) * alpha + ((under >>> 8) & 0xff) * rest) & 0xff00;
  return (0xff000000 | redBlue | green) >>> 0;
}

const probe = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });

/** Any colour of CSS as an opaque pixel. */
export function pixel(colour) {
  probe.fillStyle = colour;
  probe.fillRect(0, 0, 1, 1);
  const [red, green, blue] = probe.getImageData(0, 0, 1, 1).data;
  return (0xff000000 | (blue << 16) | (green << 8) | red) >>> 0;
}

/** An image that is as large as a canvas and a margin, in which a shape at the border has room. */
export class Raster {
  #context;
  #margin = 0;
  #image = null;
  #pixels = null;
  #sprites = new Map(); // by shape and radius

  constructor(canvas) {
    this.#context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
  }

  resize(width, height, maxRadius) {
    this.#margin = 2 * Math.ceil(maxRadius) + 2;
    this.#image = new ImageData(width + 2 * this.#margin, height + 2 * this.#margin);
    this.#pixels = new Uint32Array(this.#image.data.buffer);
    this.#sprites.clear();
  }

  clear(background) {
    this.#pixels.fill(background);
  }

  show() {
    this.#context.putImageData(this.#image, -this.#margin, -this.#margin);
  }

  #sprite(shape, radius) {
    const key = `${shape} ${radius}`;
    if (!this.#sprites.has(key)) {
      const covered = coverage(shape, radius);
      const offsets = Int32Array.from(covered, ([dx, dy]) => dy * this.#image.width + dx);
      this.#sprites.set(key, { offsets, alphas: Uint16Array.from(covered, (each) => each[2]) });
    }
    return this.#sprites.get(key);
  }

  /**
   * Draw the points whose `group` is `wanted`.
   *
   * @param scene points (x, y, x, y, ...), the order to draw them in, group and look of each point
   * @param view pixels = offset + scale * (x, -y)
   * @param looks shape and colour (a pixel) of each look
   */
  draw(scene, wanted, view, looks, radius) {
    const { points, order, group, look } = scene;
    const pixels = this.#pixels;
    const stride = this.#image.width;
    const inner = this.#margin >> 1; // a centre is drawn if it is at most so far outside
    const right = stride - inner;
    const bottom = this.#image.height - inner;
    const sprites = looks.map(({ shape }) => this.#sprite(shape, radius));
    const colours = Uint32Array.from(looks, ({ colour }) => colour);
    const left = view.offsetX + this.#margin + 0.5;
    const top = view.offsetY + this.#margin + 0.5;
    for (let k = 0; k < order.length; k++) {
      const i = order[k];
      if (group[i] !== wanted) continue;
      const x = left + view.scale * points[2 * i];
      const y = top - view.scale * points[2 * i + 1];
      if (!(x >= inner && x < right && y >= inner && y < bottom)) continue; // nor what is no number
      const at = (y | 0) * stride + (x | 0);
      const { offsets, alphas } = sprites[look[i]];
      const colour = colours[look[i]];
      for (let j = 0; j < offsets.length; j++) {
        const target = at + offsets[j];
        pixels[target] = alphas[j] === 256 ? colour : mix(colour, pixels[target], alphas[j]);
      }
    }
  }
}

/** A colour three quarters on its way to the background. */
export const dimmed = (colour, background) => mix(colour, background, 64);

/** Draw one shape into a canvas of its own, for the legend. */
export function drawSymbol(canvas, shape, colour) {
  const context = canvas.getContext("2d");
  const middle = canvas.width >> 1;
  const image = context.createImageData(canvas.width, canvas.height);
  const pixels = new Uint32Array(image.data.buffer);
  for (const [dx, dy, alpha] of coverage(shape, canvas.width / 2 - 1)) {
    pixels[(middle + dy) * canvas.width + middle + dx] = (colour & 0xffffff) | (min(255, alpha) << 24);
  }
  context.putImageData(image, 0, 0);
}

/** Indices of the points inside a polygon ([x, y] of data each), by the rule of even and odd crossings. */
export function inside(points, polygon) {
  const xs = polygon.map(([x]) => x);
  const ys = polygon.map(([, y]) => y);
  const [left, right, bottom, top] = [min(...xs), max(...xs), min(...ys), max(...ys)];
  const found = [];
  for (let i = 0; 2 * i < points.length; i++) {
    const x = points[2 * i];
    const y = points[2 * i + 1];
    if (!(x >= left && x <= right && y >= bottom && y <= top)) continue;
    let odd = false;
    for (let a = 0, b = xs.length - 1; a < xs.length; b = a++) {
      if (ys[a] > y !== ys[b] > y && x < ((xs[b] - xs[a]) * (y - ys[a])) / (ys[b] - ys[a]) + xs[a]) odd = !odd;
    }
    if (odd) found.push(i);
  }
  return found;
}

/** All indices, far from their own order, so that no group hides another for coming later. */
export function shuffled(num) {
  const common = (a, b) => (b ? common(b, a % b) : a);
  let step = Math.max(1, Math.round(num * 0.618));
  while (common(num, step) > 1) step++;
  return Uint32Array.from({ length: num }, (_, k) => (k * step) % num);
}
