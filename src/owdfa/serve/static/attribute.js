// Send files, follow the jobs that give them verdicts, and bring the new cards into the page.

import { say } from "./app.js";

const MIB = 2 ** 20;
const BATCH = { files: 50, bytes: 64 * MIB }; // small, so that the first verdicts come early
const REFRESH = 4000; // milliseconds between two looks at the list while files are attributed
const ANNOUNCE = 5000; // and between two sentences to a screen reader

/** Count with its noun. */
const counted = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

// --- Pictures that are not there: a file may have been moved or removed.

function lacks(image) {
  const text = Object.assign(document.createElement("span"), { className: "note gone", textContent: "no picture" });
  image.replaceWith(text);
}
document.addEventListener("error", (event) => event.target.tagName === "IMG" && lacks(event.target), true);
for (const image of [...document.images]) if (image.complete && !image.naturalWidth) lacks(image);

// --- From file to file by the arrow keys.

document.addEventListener("keydown", (event) => {
  const id = { ArrowLeft: "previous", k: "previous", ArrowRight: "next", j: "next" }[event.key];
  const typing = event.target.closest?.("input, select, textarea, [tabindex='0']");
  if (!id || typing || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  document.getElementById(id)?.click();
});

// --- The list: whoever came to "Show more" by the keyboard goes on at the first new card.

let goOn = null;
document.body.addEventListener("htmx:beforeSwap", (event) => {
  const item = event.detail.target;
  goOn = item.matches?.(".more") && item.contains(document.activeElement) ? item.previousElementSibling : null;
});
document.body.addEventListener("htmx:afterSettle", () => {
  goOn?.nextElementSibling?.querySelector("a")?.focus();
  goOn = null;
});
// The link works without this script; with it, the list itself goes on.
document.body.addEventListener("click", (event) => event.target.closest?.(".more a") && event.preventDefault());

function refresh() {
  const address = location.pathname + location.search;
  window.htmx.ajax("GET", address, { target: "#case", select: "#case", swap: "outerHTML" });
}

// --- Jobs, one followed after the other: a browser keeps few connections to a server.

const panel = document.getElementById("jobs");
const jobs = new Map(); // what is known of each job by its id
const failures = []; // a sentence each
const toSend = { total: 0, sent: 0 };
let following = false;
let sending = 0;
let refreshed = 0;
let announced = 0;

const over = (job) => job.state === "done" || job.state === "failed";

function sum(of) {
  return [...jobs.values()].reduce((total, job) => total + of(job), 0);
}

/** Show how far all is. */
function draw() {
  if (!panel.firstChild) panel.append(document.getElementById("progress").content.cloneNode(true));
  const total = Math.max(sum((job) => job.num_files), toSend.total);
  const done = sum((job) => job.num_done);
  const part = toSend.sent < toSend.total ? `${toSend.sent} of ${counted(toSend.total, "file")} sent; ` : "";
  const text = `${part}${done} of ${counted(total, "file")} looked at.`;
  const under = following || sending > 0;
  Object.assign(panel.querySelector("#progress-text"), { textContent: text, hidden: !under });
  Object.assign(panel.querySelector("progress"), { max: total || 1, value: done, hidden: !under });
  if (under && Date.now() - announced > ANNOUNCE) {
    announced = Date.now();
    panel.querySelector("#progress-live").textContent = text;
  }
  const item = (text) => Object.assign(document.createElement("li"), { textContent: text });
  const list = panel.querySelector("#progress-failed");
  list.replaceChildren(...failures.slice(0, 100).map(item));
  list.hidden = !failures.length;
  panel.hidden = !failures.length && !under;
}

/** Hear of a job until it is over; the browser connects again where the connection was lost. */
function watch(id, hear) {
  return new Promise((resolve) => {
    const source = new EventSource(`/v1/jobs/${encodeURIComponent(id)}/events`);
    const end = () => resolve(source.close());
    source.addEventListener("job", (event) => {
      const job = JSON.parse(event.data);
      hear(job);
      if (over(job)) end();
    });
    source.addEventListener("error", () => source.readyState === EventSource.CLOSED && end());
  });
}

/** Note how a job ended: its files are in no event. */
async function conclude(job) {
  const answer = await fetch(`/v1/jobs/${encodeURIComponent(job.id)}`);
  const told = answer.ok ? await answer.json() : { ...job, note: "the server no longer knows of these files; send them again" };
  for (const file of told.files ?? []) if (file.state === "failed") failures.push(`${file.name}: ${file.error}`);
  if (!over(told) || told.state === "failed") failures.push(told.note || "the files were not attributed");
  jobs.set(job.id, over(told) ? told : { ...told, state: "failed" }); // of that no event will come
}

async function follow() {
  if (following) return;
  following = true;
  for (let next; (next = [...jobs.values()].find((job) => !over(job)));) {
    await watch(next.id, (job) => {
      jobs.set(job.id, { ...job, state: over(job) ? "running" : job.state }); // until its files are known
      draw();
      const near = scrollY < innerHeight; // whoever has scrolled down is reading
      if (near && job.num_done && Date.now() - refreshed > REFRESH) {
        refreshed = Date.now();
        refresh();
      }
    });
    await conclude(jobs.get(next.id));
  }
  following = false;
  finish();
}

/** Say how all ended, once nothing is under way. */
function finish() {
  if (following || sending) return;
  const looked = sum((job) => job.num_done);
  say(`${counted(looked, "file")} looked at${failures.length ? "; what failed is listed below" : ""}.`, failures.length > 0);
  jobs.clear();
  Object.assign(toSend, { total: 0, sent: 0 });
  draw();
  refresh();
}

// --- Send files.

const drop = document.getElementById("drop");

/** Files in parts that a request may hold; those that are too large are left out, and named. */
function batches(files) {
  const { maxFile, maxFiles, maxRequest } = drop.dataset;
  const mostFiles = Math.min(BATCH.files, Number(maxFiles));
  const mostBytes = Math.min(BATCH.bytes, Number(maxRequest));
  const made = [];
  let bytes = Infinity;
  for (const file of files) {
    if (file.size > Number(maxFile)) {
      failures.push(`${file.name}: is larger than ${Math.floor(maxFile / MIB)} MiB, the most that is taken`);
      continue;
    }
    if (bytes + file.size > mostBytes || made.at(-1).length >= mostFiles) {
      made.push([]);
      bytes = 0;
    }
    made.at(-1).push(file);
    bytes += file.size;
  }
  return made;
}

async function post(batch) {
  const form = new FormData();
  for (const file of batch) form.append("files", file, file.name);
  const answer = await fetch(`${drop.action}?wait=0`, { method: "POST", body: form });
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.detail ?? `the server answered ${answer.status}`);
  return told;
}

async function send(files) {
  if (!files.length) return;
  if (!following && !sending) failures.length = 0;
  const parts = batches(files);
  toSend.total += parts.flat().length;
  sending += 1;
  say(`Sending ${counted(files.length, "file")} …`);
  for (const batch of parts) {
    draw();
    try {
      const job = await post(batch);
      jobs.set(job.id, job);
      toSend.sent += batch.length;
      follow();
    } catch (error) {
      toSend.total -= batch.length;
      const others = batch.length > 1 ? ` and ${counted(batch.length - 1, "other")}` : "";
      failures.push(`${batch[0].name}${others}: not sent: ${error.message}`);
    }
  }
  sending -= 1;
  draw();
  finish();
}

/** All files of what was dropped, folders included. */
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files];
  const files = [];
  const read = (entry) => new Promise((resolve) => {
    if (entry.isFile) return entry.file((file) => resolve(files.push(file)), resolve);
    const reader = entry.createReader();
    const more = () => reader.readEntries(async (some) => {
      for (const each of some) await read(each);
      if (some.length) more();
      else resolve();
    }, resolve);
    more();
  });
  for (const entry of entries) await read(entry);
  return files.filter((file) => !file.name.startsWith("."));
}

if (drop) {
  const input = document.getElementById("input");
  input.addEventListener("change", () => {
    send([...input.files]);
    input.value = "";
  });
  document.getElementById("choose").addEventListener("click", () => input.click());
  drop.addEventListener("submit", (event) => event.preventDefault());
  for (const type of ["dragenter", "dragover", "dragleave", "drop"]) {
    document.addEventListener(type, (event) => {
      if (![...event.dataTransfer.types].includes("Files")) return;
      event.preventDefault();
      drop.classList.toggle("over", type === "dragenter" || type === "dragover");
    });
  }
  document.addEventListener("drop", async (event) => send(await dropped(event.dataTransfer)));
  addEventListener("beforeunload", (event) => sending && event.preventDefault()); // the rest would not be sent
  document.addEventListener("paste", (event) => send([...event.clipboardData.files]));
}

// What another page, or this one before it was loaded anew, has begun.
async function resume() {
  const answer = await fetch("/v1/jobs");
  if (!answer.ok) return;
  for (const job of await answer.json()) if (job.kind === "attribute" && !over(job)) jobs.set(job.id, job);
  if (jobs.size) follow();
}
if (panel) resume().catch(() => {}); // the page tells nothing that it does not know

// --- The evidence report.

document.body.addEventListener("htmx:afterSwap", (event) => {
  const place = event.target.querySelector?.("[data-job]");
  if (!place) return;
  watch(place.dataset.job, (job) => {
    if (job.state === "failed") {
      refresh();
      say(`The evidence report could not be made: ${job.note}`, true);
    }
    if (job.state !== "done") return;
    const link = document.createElement("a");
    Object.assign(link, { href: place.dataset.file, textContent: "evidence report (HTML)", download: "" });
    place.replaceChildren(link);
  });
});
