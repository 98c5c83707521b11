// The elements of an embedding map (map.js): bar, stage, tip, legend.

import { drawSymbol } from "./map_draw.js";

const KEYS = [
  "Arrows move", "+ − zoom", "0 all", "Enter opens the marked point", "Space selects it", "G its group",
  "V all in view", "L lasso", "Esc clears",
].join(" · ");

/** Add an element. */
function make(name, className, parent, text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  parent.append(made);
  return made;
}

/** Fill the element of a map, and give what changes later. */
export function build(map, element) {
  element.classList.add("map");
  const bar = make("div", "map-bar", element);
  const button = (text, title, act) => {
    const made = make("button", "", bar, text);
    made.type = "button";
    made.title = title;
    made.setAttribute("aria-label", title);
    made.addEventListener("click", act);
    return made;
  };
  const lasso = button("Lasso", "Lasso (L)", () => map.setMode(map.mode === "lasso" ? "pan" : "lasso"));
  button("+", "Zoom in (+)", () => map.zoom(1.6));
  button("−", "Zoom out (−)", () => map.zoom(1 / 1.6));
  button("All", "Show all (0)", () => map.fit());
  button("Clear", "Clear the selection (Esc)", () => map.clear());
  const count = make("output", "map-count", bar);
  const stage = make("div", "map-stage", element);
  const canvas = make("canvas", "", stage);
  canvas.setAttribute("aria-hidden", "true");
  const surface = make("canvas", "map-surface", stage);
  surface.tabIndex = 0;
  surface.setAttribute("role", "application");
  surface.setAttribute("aria-label", `Map of images. ${KEYS}`);
  make("p", "map-keys", stage, KEYS).setAttribute("aria-hidden", "true");
  const tip = make("div", "map-tip", stage);
  const image = make("img", "", tip);
  image.alt = "";
  const parts = { lasso, count, stage, canvas, surface, tip, image, text: make("span", "", tip) };
  parts.told = make("p", "map-told", stage);
  parts.told.setAttribute("aria-live", "polite");
  parts.legend = make("div", "map-legend", element);
  parts.legend.setAttribute("role", "group");
  parts.legend.setAttribute("aria-label", "Groups: press one to dim the others");
  return parts;
}

/** A button for each category that has a colour, the largest first, and what the grey points are. */
export function drawLegend(legend, entries, numOthers, press) {
  legend.replaceChildren();
  for (const { category, name, count, shape, colour } of entries) {
    const button = make("button", "", legend);
    button.type = "button";
    button.dataset.category = category;
    const symbol = make("canvas", "", button);
    symbol.width = symbol.height = Math.round(14 * devicePixelRatio);
    drawSymbol(symbol, shape, colour);
    make("span", "", button, name);
    make("small", "", button, count.toLocaleString("en"));
    button.addEventListener("click", () => press(category));
  }
  if (numOthers) make("small", "map-count", legend, `grey: ${numOthers.toLocaleString("en")} others`);
}

/** Show the tip of a point beside its place, within the stage. */
export function showTip({ tip, text, image, stage }, [x, y], label, address) {
  tip.hidden = false;
  text.textContent = label;
  image.hidden = !address;
  if (address && image.getAttribute("src") !== address) image.src = address;
  const { clientWidth, clientHeight } = stage;
  const aside = x + 12 + tip.offsetWidth > clientWidth ? x - 12 - tip.offsetWidth : x + 12;
  const below = Math.min(y + 12, clientHeight - tip.offsetHeight - 4);
  tip.style.transform = `translate(${Math.max(4, aside)}px, ${Math.max(4, below)}px)`;
}

/** Draw what lies above the points: a ring around one of them, and the lasso. */
export function drawAbove(surface, ratio, { ring, lasso, ink, veil }) {
  const context = surface.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, surface.width, surface.height);
  Object.assign(context, { strokeStyle: ink, fillStyle: veil, lineWidth: 2 });
  if (ring) {
    context.beginPath();
    context.arc(ring.x, ring.y, ring.radius, 0, 7);
    context.stroke();
  }
  if (lasso) {
    context.beginPath();
    for (const [x, y] of lasso) context.lineTo(x, y);
    context.closePath();
    context.setLineDash([5, 4]);
    context.fill();
    context.stroke();
    context.setLineDash([]);
  }
}
