// Copy a hash.

import { say } from "./app.js";

document.addEventListener("click", async (event) => {
  const button = event.target.closest?.("[data-copy]");
  if (!button) return;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    say(`Copied: ${button.dataset.copy}`);
  } catch {
    say(`The browser does not let this page copy. The hash: ${button.dataset.copy}`);
  }
});
for (const select of document.querySelectorAll("#filter select")) {
  select.addEventListener("change", () => select.form.requestSubmit());
}
document.getElementById("show")?.setAttribute("hidden", "");
