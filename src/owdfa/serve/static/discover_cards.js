// Cards of groups that were chosen, to be compared or merged.

import { $, all, plural } from "./discover_common.js";

export const chosen = () => all(".choose input:checked");

export function showChosen() {
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

export function unchoose() {
  for (const box of chosen()) box.checked = false;
  showChosen();
}
