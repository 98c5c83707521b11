// The embedding map of the screen of groups: colours, what is picked, what a lasso selects.

import { createMap } from "./map.js";
import { select, selected } from "./discover_images.js";

const $ = (selector) => document.querySelector(selector);
const SHOWN = 30; // pictures of a selection

let map = null;
let about = null; // see pages/embedding_map.py
let images = []; // SHA-256 by index
let indexOf = new Map();
let places = null; // Float32Array, x and y of each
let shown = []; // indices of the images that are points of the map
let picked = []; // indices of the last two points
let updating = false;

const groupOf = (index) => {
  const value = about.kinds.group.values[index];
  return value < 0 ? null : { id: about.kinds.group.ids[value], name: about.kinds.group.names[value] };
};
const thumb = (index) => `/pictures/${images[index]}/thumb`;

function label(index) {
  const { verdict } = about.kinds;
  return `${about.files[index]} · ${groupOf(index)?.name ?? "in no group"} · ${verdict.names[verdict.values[index]]}`;
}

/** Categories as the map takes them; groups have the colours of their cards. */
function coloured() {
  const { names, values, colours } = about.kinds[$("#map-colour").value];
  const style = getComputedStyle(document.documentElement);
  const css = colours?.map((each) => style.getPropertyValue(each ? `--map-${each}` : "--map-rest").trim());
  return { categories: Int16Array.from(shown, (index) => values[index]), names, colours: css ?? null };
}

export async function showMap() {
  const area = $("#map-area");
  const head = $("#view").dataset.head;
  if (map && area.contains(map.surface)) {
    if (about.head !== head) await update();
    return;
  }
  const [points, known] = await Promise.all([fetch("/discover/map/points"), fetch("/discover/map/about")]);
  if (!points.ok || !known.ok) {
    $("#map-wait").textContent = "The map cannot be had; load the page again.";
    return;
  }
  about = await known.json();
  const data = await points.arrayBuffer();
  const num = about.files.length;
  const bytes = new Uint8Array(data, 8 * num);
  const hex = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));
  images = Array.from({ length: num }, (_, i) => Array.from(bytes.subarray(32 * i, 32 * i + 32), (byte) => hex[byte]).join(""));
  indexOf = new Map(images.map((image, index) => [image, index]));
  places = new Float32Array(data, 0, 2 * num);
  draw();
}

/** Images of known types are left out unless they are wanted: a lasso would move them. */
function visible() {
  const wanted = $("#map-known").checked;
  return [...images.keys()].filter((index) => wanted || !about.known[index]);
}

function draw() {
  const area = $("#map-area");
  map?.destroy();
  area.replaceChildren();
  shown = visible();
  const points = new Float32Array(2 * shown.length);
  shown.forEach((index, point) => points.set(places.subarray(2 * index, 2 * index + 2), 2 * point));
  map = createMap(area, {
    points, ...coloured(),
    label: (point) => label(shown[point]),
    picture: (point) => thumb(shown[point]),
    onPick: (point) => pick(shown[point]),
    onSelect: (points) => {
      updating = true;
      selected.clear();
      select([...points].map((point) => images[shown[point]]));
      updating = false;
      showSide();
    },
  });
  showSide();
}

/** After a decision: the same points in other groups. */
async function update() {
  const before = about.layout;
  about = await (await fetch("/discover/map/about")).json();
  if (about.layout !== before) return location.reload();
  if (visible().length !== shown.length) return draw(); // some came into groups, or out of them
  const { categories, names, colours } = coloured();
  map.recolour(categories, names, colours);
  showSide();
}

function pick(index) {
  picked = [...picked.filter((each) => each !== index), index].slice(-2);
  showSide();
}

function add(parent, name, text = "", attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent.append(made);
  return made;
}

/** What was picked, and what is selected. */
function showSide() {
  const side = $("#map-side");
  side.replaceChildren();
  const groups = picked.map(groupOf);
  for (const [place, index] of picked.entries()) {
    const box = add(side, "div", "", { class: "picked" });
    add(box, "img", "", { class: "thumb", src: thumb(index), alt: "", width: 128, height: 128 });
    const text = add(box, "div");
    add(text, "a", about.files[index], { href: `/files/${images[index]}` });
    const { names, values } = about.kinds.verdict;
    add(text, "p", names[values[index]], { class: "note" });
    if (groups[place]) add(text, "a", groups[place].name, { href: `/discover/${groups[place].id}` });
    else add(text, "span", "in no group", { class: "note" });
  }
  const [a, b] = groups;
  if (a && b && a.id !== b.id) {
    add(side, "a", `Compare ${a.name} and ${b.name}`, { class: "button", href: `/discover/compare?a=${a.id}&b=${b.id}` });
  }
  if (selected.size) showSelected(side);
  else if (!picked.length) add(side, "p", "Nothing is picked yet.", { class: "note" });
}

function showSelected(side) {
  const counts = new Map();
  const chosen = [...selected].map((image) => indexOf.get(image)).filter((index) => index !== undefined);
  for (const index of chosen) {
    const name = groupOf(index)?.name ?? "in no group";
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  add(side, "h2", `${chosen.length.toLocaleString("en")} selected`);
  const ranked = [...counts].sort((a, b) => b[1] - a[1]);
  add(side, "p", ranked.map(([name, count]) => `${name}: ${count.toLocaleString("en")}`).join("; "));
  const thumbs = add(side, "div", "", { class: "thumbs" });
  for (const index of chosen.slice(0, SHOWN)) {
    const link = add(thumbs, "a", "", { href: `/files/${images[index]}` });
    add(link, "img", "", { class: "thumb", src: thumb(index), alt: about.files[index], loading: "lazy", width: 128, height: 128 });
  }
  if (chosen.length > SHOWN) add(side, "p", `and ${(chosen.length - SHOWN).toLocaleString("en")} more`, { class: "note" });
}

document.addEventListener("owdfa:selection", () => {
  if (updating || !map || !$("#map-area")) return;
  map.select([...shown.keys()].filter((point) => selected.has(images[shown[point]])));
  showSide();
});
document.addEventListener("change", (event) => {
  if (event.target.id === "map-known" && map) draw();
  if (event.target.id !== "map-colour" || !map) return;
  const { categories, names, colours } = coloured();
  map.recolour(categories, names, colours);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  if (!map || !$("#map-area")) return;
  const { categories, names, colours } = coloured();
  map.recolour(categories, names, colours);
});
