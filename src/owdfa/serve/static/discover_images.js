// The images of a group: a page of them is asked for as it comes near; which are selected.

import { $, all, plural } from "./discover_common.js";

export const selected = new Set(); // SHA-256
let order = null; // of all images of the group, once it was needed
let last = null; // image that was selected last: where a range begins

const near = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      htmx.trigger(target, "near");
    }
  },
  { rootMargin: "800px" },
);

/** Give each page the height that it will have, so that the scroll bar is right from the start. */
function layOut() {
  const grid = $("#grid");
  if (!grid) return;
  const style = getComputedStyle(grid);
  const [width, row] = ["--tile", "--row"].map((name) => parseFloat(style.getPropertyValue(name)) * 16);
  const columns = Math.max(1, Math.floor((grid.clientWidth + 8) / (width + 8)));
  const height = (count) => `${Math.ceil(count / columns) * (row + 8) - 8}px`;
  const counts = all(".page", grid).map((page) => Number(page.dataset.count));
  // On the root, which is never swapped: the policy forbids htmx to copy a style attribute.
  const root = document.documentElement.style;
  root.setProperty("--columns", columns);
  root.setProperty("--page-height", height(counts[0] ?? 0));
  root.setProperty("--last-height", height(counts.at(-1) ?? 0));
}
addEventListener("resize", layOut);

export async function wholeOrder() {
  const { group, order: by } = $("#grid").dataset;
  order ??= await (await fetch(`/discover/${group}/order?order=${by}`)).json();
  return order;
}

export function showSelection() {
  for (const box of all(".pick")) box.checked = selected.has(box.value);
  const form = $("#selection");
  if (!form) return;
  form.hidden = selected.size === 0;
  $("#selected-count").textContent = `${plural(selected.size, "image")} selected`;
  document.dispatchEvent(new CustomEvent("owdfa:selection"));
}

export function select(images, on = true) {
  for (const image of images) on ? selected.add(image) : selected.delete(image);
  showSelection();
}

/** Select all from the image that was selected last up to one. */
export async function selectTo(image) {
  const names = await wholeOrder();
  const ends = [names.indexOf(last ?? image), names.indexOf(image)].sort((a, b) => a - b);
  select(names.slice(ends[0], ends[1] + 1));
  last = image;
}

function focusTile(box) {
  for (const other of all('.pick[tabindex="0"]')) other.tabIndex = -1;
  box.tabIndex = 0;
  box.focus({ preventScroll: true });
  box.closest(".tile").scrollIntoView({ block: "nearest" });
}

/** The picked image's neighbour, which may be on a page that is not there yet. */
function moveTile(box, key) {
  const columns = Number(document.documentElement.style.getPropertyValue("--columns")) || 1;
  const boxes = all("#grid .pick");
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
  const to = { Home: 0, End: boxes.length - 1 }[key] ?? boxes.indexOf(box) + steps[key];
  if (boxes[to]) focusTile(boxes[to]);
  return boxes[to];
}

document.addEventListener("click", (event) => {
  const label = event.target.closest(".tile label");
  if (!label || !event.shiftKey) return;
  event.preventDefault(); // no text is marked, and the box is set by the range
  focusTile($(".pick", label));
  selectTo($(".pick", label).value);
});
document.addEventListener("change", (event) => {
  if (!event.target.matches(".pick")) return;
  last = event.target.value;
  select([last], event.target.checked);
  for (const other of all('.pick[tabindex="0"]')) other.tabIndex = -1;
  event.target.tabIndex = 0;
});
document.addEventListener("dblclick", (event) => {
  const tile = event.target.closest(".tile label");
  if (tile) location.assign(`/files/${$(".pick", tile).value}`);
});
// Pictures that cannot be had: the file is gone, or is none that can be shown.
document.addEventListener("error", (event) => {
  if (event.target.matches?.("img.thumb")) event.target.classList.add("gone");
}, true);

/** A key on an image that has the focus; whether it meant something. */
export function gridKey(event, box) {
  const key = event.key;
  if (key === "Enter") location.assign(`/files/${box.value}`);
  else if (key === " " && event.shiftKey) selectTo(box.value);
  else if (key.startsWith("Arrow") || key === "Home" || key === "End") {
    const to = moveTile(box, key);
    if (event.shiftKey && to) select([box.value, to.value]), (last = to.value);
  } else return false;
  event.preventDefault();
  return true;
}

/** Look after the images of a view that has come. */
export function showImages() {
  order = null;
  layOut();
  for (const page of all(".page:empty")) near.observe(page);
  showSelection();
}

/** Let Tab lead to the images. */
export function letFocus() {
  const first = $("#grid .pick");
  if (first && !$('#grid .pick[tabindex="0"]')) first.tabIndex = 0;
}
