// The screen of groups: views that come and go, and what others do meanwhile.

import { say } from "./app.js";
import { chosen, showChosen, unchoose } from "./discover_cards.js";
import { $, all, view } from "./discover_common.js";
import { letFocus, select, selected, showImages, showSelection, wholeOrder } from "./discover_images.js";
import { openTool } from "./discover_keys.js";

/* ---- What htmx asks and brings ---- */

document.addEventListener("htmx:configRequest", (event) => {
  const { elt, parameters } = event.detail;
  if (elt.closest("#selection")) parameters.set("images", [...selected].join(" "));
  if (elt.closest("#chosen")) parameters.set("other", chosen().map((box) => box.value).join(" "));
});

let seen = ""; // the view that the selection is of

function arrived() {
  const now = `${view().dataset.view} ${view().dataset.group ?? ""}`;
  if (now !== seen) selected.clear();
  seen = now;
  showImages();
  showChosen();
  // Those that failed before this script listened.
  for (const each of all("img.thumb")) if (each.complete && !each.naturalWidth) each.classList.add("gone");
  if ($("#map-area")) import("./discover_map.js").then((map) => map.showMap());
}

document.addEventListener("htmx:afterSettle", (event) => {
  const { target } = event;
  if (target.matches(".page")) {
    showSelection();
    letFocus();
  } else if (target.id === "view") {
    arrived();
    goOn();
  }
  if ($("#job-done")) refresh();
});
let decided = null; // number of the card that was named or rejected
document.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr, requestConfig } = event.detail;
  const { elt } = requestConfig;
  if (xhr.status !== 200 || requestConfig.verb !== "post") return;
  // What was decided of the images is done: they are no longer selected.
  if (elt.closest("#selection")) selected.clear();
  if (elt.closest(".decide, .act")) decided = all(".group-card").indexOf(elt.closest(".group-card"));
});

/** After a decision on a group, keys lead on from it; on the cards, from the one that takes its place. */
function goOn() {
  if (decided === null) return;
  const cards = all(".group-card");
  const to = cards.length ? $("h2 a", cards[Math.min(Math.max(decided, 0), cards.length - 1)]) : $("#title");
  decided = null;
  to?.focus({ preventScroll: true });
}
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
  unchoose,
  copy: async (button) => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.from).textContent);
    say("Copied.");
  },
};
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (button) deeds[button.dataset.do](button);
});

arrived();
if (location.hash.startsWith("#tool-")) openTool(location.hash, { "#tool-merge": "input[type=radio]", "#tool-split": "#propose", "#tool-note": "#note-text" }[location.hash] ?? "summary");
