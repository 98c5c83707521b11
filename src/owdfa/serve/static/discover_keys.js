// Keys of the screen of groups; they do nothing while one types.

import { chosen, showChosen, unchoose } from "./discover_cards.js";
import { $, all, view } from "./discover_common.js";
import { gridKey, select, selected } from "./discover_images.js";

const clearSelection = () => select([...selected], false);

const card = () => document.activeElement.closest(".group-card") ?? null;

export function openTool(id, field) {
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
    else if (selected.size) clearSelection();
    else unchoose();
  },
};

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
