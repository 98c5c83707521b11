// The screen of groups: selection of images, choice of cards, keys, and what others do meanwhile.

import { say } from "./app.js";

const $ = (selector, inside = document) => inside.querySelector(selector);
const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
const view = () => $("#view");
const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

/* ---- Images of a group: a page of them is asked for as it comes near ---- */

const selected = new Set(); // SHA-256
let order = null; // of all images of the group, once it was needed
let last = null; // image that was selected last: where a range begins
let seen = ""; // the view that the selection is of

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

async function wholeOrder() {
  const { group, order: by } = $("#grid").dataset;
  order ??= await (await fetch(`/discover/${group}/order?order=${by}`)).json();
  return order;
}

function showSelection() {
  for (const box of all(".pick")) box.checked = selected.has(box.value);
  const form = $("#selection");
  if (!form) return;
  form.hidden = selected.size === 0;
  $("#selected-count").textContent = `${plural(selected.size, "image")} selected`;
}

function select(images, on = true) {
  for (const image of images) on ? selected.add(image) : selected.delete(image);
  showSelection();
}

/** Select all from the image that was selected last up to one. */
async function selectTo(image) {
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

/* ---- Cards that were chosen, to be compared or merged ---- */

const chosen = () => all(".choose input:checked");

function showChosen() {
  const form = $("#chosen");
  if (!form) return;
  const boxes = chosen();
  form.hidden = boxes.length === 0;
  $("#chosen-count").textContent = `${plural(boxes.length, "group")} chosen`;
  const [a, b] = boxes.map((box) => box.value);
  const pair = $("#chosen-compare");
  pair.hidden = boxes.length !== 2;
  pair.href = `/discover/compare?a=${a}&b=${b}`;
  const into = $("#chosen-into");
  const before = into.value;
  into.replaceChildren(...boxes.map((box) => new Option(box.dataset.title, box.value, false, box.value === before)));
  $("#do-merge-chosen").disabled = boxes.length < 2;
}
document.addEventListener("change", (event) => {
  if (event.target.matches(".choose input")) showChosen();
});

/* ---- What htmx asks and brings ---- */

document.addEventListener("htmx:configRequest", (event) => {
  const { elt, parameters } = event.detail;
  if (elt.closest("#selection")) parameters.set("images", [...selected].join(" "));
  if (elt.closest("#chosen")) parameters.set("other", chosen().map((box) => box.value).join(" "));
});

function arrived() {
  const now = `${view().dataset.view} ${view().dataset.group ?? ""}`;
  if (now !== seen) selected.clear();
  seen = now;
  order = null;
  layOut();
  for (const page of all(".page:empty")) near.observe(page);
  showSelection();
  showChosen();
  document.dispatchEvent(new CustomEvent("owdfa:view"));
}

document.addEventListener("htmx:afterSettle", (event) => {
  const { target } = event;
  if (target.matches(".page")) {
    showSelection();
    const first = $("#grid .pick");
    if (first && !$('#grid .pick[tabindex="0"]')) first.tabIndex = 0;
  } else if (target.id === "view") {
    arrived();
  }
  if ($("#job-done")) refresh();
});
document.addEventListener("htmx:beforeSwap", (event) => {
  // What was decided of the images is done: they are no longer selected.
  const { xhr, requestConfig } = event.detail;
  if (xhr.status === 200 && requestConfig.verb === "post" && requestConfig.elt.closest("#selection")) selected.clear();
});
document.addEventListener("htmx:responseError", async (event) => {
  const { xhr } = event.detail;
  if (xhr.status !== 409) return;
  const lost = await refresh();
  const message = $("#message");
  message.innerHTML = xhr.responseText; // our own, escaped by the template
  if (lost.length) {
    const line = document.createElement("p");
    line.textContent = `You had typed: ${lost.join("; ")}`;
    message.firstElementChild.append(line);
  }
});

/** Load the view as it is now; what was typed and chosen stays. Returns what has no place any more. */
async function refresh() {
  const typed = all("#view input:not([type=hidden]):not(.pick), #view select")
    .filter((field) => field.id && isChanged(field))
    .map((field) => [field.id, field.type === "checkbox" ? field.checked : field.value]);
  const open = all("#view details[open]").map((each) => each.id);
  const text = await (await fetch(location.href)).text();
  const page = new DOMParser().parseFromString(text, "text/html");
  htmx.swap(view(), page.getElementById("view").outerHTML, { swapStyle: "outerHTML", swapDelay: 0, settleDelay: 0 });
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  const lost = [];
  for (const [id, value] of typed) {
    const field = document.getElementById(id);
    if (!field) {
      if (typeof value === "string" && value) lost.push(value);
    } else if (typeof value === "boolean") field.checked = value;
    else field.value = value;
  }
  arrived();
  return lost;
}

function isChanged(field) {
  if (field.type === "checkbox") return field.checked !== field.defaultChecked;
  if (field.matches("select")) return !field.options[field.selectedIndex]?.defaultSelected;
  return field.value !== field.defaultValue;
}

// A message stays in sight while one scrolls; what went well goes after a while.
let fading = 0;
new MutationObserver(() => {
  clearTimeout(fading);
  fading = setTimeout(() => $("#message:not(:hover, :focus-within) .done")?.remove(), 12_000);
}).observe($("#message"), { childList: true });

/* ---- Names that there are already ---- */

document.addEventListener("input", (event) => {
  const field = event.target;
  if (!field.matches("input[list=names]")) return;
  const typed = field.value.trim().replace(/\s+/g, " ").toLowerCase();
  const found = all("#names option").find(
    (each) => each.value.toLowerCase() === typed && each.dataset.group !== field.dataset.group,
  );
  document.getElementById(field.getAttribute("aria-describedby")).textContent = found ? `${found.value} ${found.dataset.hint}.` : "";
});

/* ---- Buttons that ask nothing of the server ---- */

const deeds = {
  refresh,
  keys: () => $("#keys").showModal(),
  clear: () => select([...selected], false),
  all: async () => select(await wholeOrder()),
  invert: async () => {
    const names = (await wholeOrder()).filter((each) => !selected.has(each));
    selected.clear();
    select(names);
  },
  unchoose: () => {
    for (const box of chosen()) box.checked = false;
    showChosen();
  },
  copy: async (button) => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.from).textContent);
    say("Copied.");
  },
};
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (button) deeds[button.dataset.do](button);
});

/* ---- Keys ---- */

const card = () => document.activeElement.closest(".group-card") ?? null;

function openTool(id, field) {
  const tool = $(id);
  if (!tool) return;
  tool.open = true;
  ($(field, tool) ?? $("summary", tool)).focus();
  tool.scrollIntoView({ block: "nearest" });
}

/** Go to the next or previous group: another page, or on the cards another card. */
function step(by) {
  const cards = all(".group-card");
  if (!cards.length) {
    const to = by > 0 ? view().dataset.after : view().dataset.before;
    if (to) location.assign(`/discover/${to}`);
    return;
  }
  const at = cards.indexOf(card());
  const to = cards[at < 0 ? (by > 0 ? 0 : cards.length - 1) : at + by];
  to?.querySelector("h2 a").focus();
  to?.scrollIntoView({ block: "nearest" });
}

/** A tool of the group, or of the card that has the focus; then on the page of its group. */
function tool(name, field) {
  if (card()) location.assign(`/discover/${card().dataset.group}#tool-${name}`);
  else openTool(`#tool-${name}`, field);
}

function compareKey() {
  const [a, b] = chosen().map((box) => box.value);
  if (b) location.assign(`/discover/compare?a=${a}&b=${b}`);
  else if (card()) toggleChoice();
  else $("#compare-nearest")?.click();
}

function toggleChoice() {
  const box = card() && $(".choose input", card());
  if (!box) return;
  box.checked = !box.checked;
  showChosen();
}

const keys = {
  j: () => step(1),
  k: () => step(-1),
  n: () => $("input[name=name]", card() ?? view())?.select(),
  m: () => (chosen().length > 1 ? $("#do-merge-chosen").focus() : $("#view[data-view=compare]") ? ($(".sides button.main") ?? $(".sides button")).focus() : tool("merge", "input[type=radio]")),
  s: () => tool("split", "#propose"),
  o: () => tool("note", "input[name=text]"),
  r: () => $("[id^=do-reject-]", card() ?? view())?.click(),
  c: compareKey,
  x: toggleChoice,
  u: () => $("#undo")?.click(),
  U: () => $("#redo")?.click(),
  g: () => location.assign("/discover"),
  "?": () => $("#keys").showModal(),
  Escape: () => {
    const tools = all("#view details[name=tool][open]");
    if (tools.length) tools.forEach((each) => (each.open = false));
    else if (selected.size) deeds.clear();
    else deeds.unchoose();
  },
};

function gridKey(event, box) {
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

document.addEventListener("keydown", (event) => {
  const { target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || $("dialog[open]")) return;
  if (target.matches(".pick") && gridKey(event, target)) return;
  const typing = target.matches("select, textarea, input:not([type=checkbox]):not([type=radio])");
  if (typing) {
    if (event.key === "Escape") target.blur();
    return;
  }
  if (target.closest(".map") && event.key !== "?") return; // the map has keys of its own
  const isCards = Boolean($(".group-card"));
  const arrows = isCards ? { ArrowDown: "j", ArrowRight: "j", ArrowUp: "k", ArrowLeft: "k" } : {};
  const inCard = isCards && (card() || target === document.body);
  const act = keys[inCard ? (arrows[event.key] ?? event.key) : event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

arrived();
if (location.hash.startsWith("#tool-")) openTool(location.hash, { "#tool-merge": "input[type=radio]", "#tool-split": "#propose", "#tool-note": "#note-text" }[location.hash] ?? "summary");
