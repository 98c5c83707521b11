// Where an embedding map looks: x and y of the data to CSS pixels and back.

const DEEPEST = 5000; // times the scale at which all points fit

export class View {
  width = 0;
  height = 0;
  scale = 1; // CSS pixels = offset + scale * (x, -y)
  offsetX = 0;
  offsetY = 0;
  #bounds;

  constructor(points) {
    this.#bounds = boundsOf(points);
  }

  resize(width, height) {
    this.offsetX += (width - this.width) / 2;
    this.offsetY += (height - this.height) / 2;
    Object.assign(this, { width, height });
  }

  /** The scale at which all points are in view. */
  get fitting() {
    const { left, right, bottom, top } = this.#bounds;
    return 0.92 * Math.min(this.width / (right - left), this.height / (top - bottom));
  }

  fit() {
    const { left, right, bottom, top } = this.#bounds;
    this.scale = this.fitting;
    this.centre((left + right) / 2, (bottom + top) / 2);
  }

  centre(x, y) {
    this.offsetX = this.width / 2 - this.scale * x;
    this.offsetY = this.height / 2 + this.scale * y;
  }

  /** Move by CSS pixels; the middle stays among the points. */
  pan(x, y) {
    const { left, right, bottom, top } = this.#bounds;
    const [nowX, nowY] = this.data(this.width / 2 - x, this.height / 2 - y);
    this.centre(Math.min(right, Math.max(left, nowX)), Math.min(top, Math.max(bottom, nowY)));
  }

  /** Zoom; the place in CSS pixels stays where it is. */
  zoom(factor, x = this.width / 2, y = this.height / 2) {
    const scale = Math.min(DEEPEST * this.fitting, Math.max(0.8 * this.fitting, this.scale * factor));
    this.offsetX = x - ((x - this.offsetX) * scale) / this.scale;
    this.offsetY = y - ((y - this.offsetY) * scale) / this.scale;
    this.scale = scale;
    this.pan(0, 0);
  }

  data(x, y) {
    return [(x - this.offsetX) / this.scale, (this.offsetY - y) / this.scale];
  }

  place(x, y) {
    return [this.offsetX + this.scale * x, this.offsetY - this.scale * y];
  }
}

/** The box of all points that are numbers; never empty. */
function boundsOf(points) {
  let [left, right, bottom, top] = [Infinity, -Infinity, Infinity, -Infinity];
  for (let i = 0; i < points.length; i += 2) {
    const [x, y] = [points[i], points[i + 1]];
    if (!Number.isFinite(x) || !Number.isFinite(y)) continue;
    [left, right] = [Math.min(left, x), Math.max(right, x)];
    [bottom, top] = [Math.min(bottom, y), Math.max(top, y)];
  }
  if (left > right) return { left: -1, right: 1, bottom: -1, top: 1 };
  const least = (right - left + top - bottom) / 1e3 || 1; // one point, or all in a line
  return { left: left - least, right: right + least, bottom: bottom - least, top: top + least };
}
