// What all screens share: the reviewer's name, and errors of parts that htmx loads.

const who = document.getElementById("who");
who.addEventListener("change", () => {
  const year = 365 * 24 * 3600;
  document.cookie = `owdfa-who=${encodeURIComponent(who.value)}; path=/; SameSite=Strict; Max-Age=${year}`;
  say(`Decisions are noted as ${who.value}'s.`);
});

/** Show a sentence above the content; an error stays, others go with the next. */
export function say(text, isError = false) {
  const place = document.getElementById("message");
  const line = document.createElement("p");
  line.className = isError ? "alert" : "done";
  line.textContent = text;
  place.replaceChildren(line);
}

document.body.addEventListener("htmx:responseError", (event) => {
  const answer = new DOMParser().parseFromString(event.detail.xhr.responseText, "text/html");
  say(answer.body.textContent.trim() || "The server could not do that.", true);
});
document.body.addEventListener("htmx:sendError", () => say("The server does not answer.", true));
