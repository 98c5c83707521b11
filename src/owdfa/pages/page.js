"use strict";
// Draws every plot of the page in the reader's theme, and again when the theme changes.
const dark = matchMedia("(prefers-color-scheme: dark)");
const narrow = matchMedia("(max-width: 44rem)");

function template() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = {
    gridcolor: colour("--grid"), linecolor: colour("--rule"), zerolinecolor: colour("--rule"),
    automargin: true, title: { standoff: 8, font: { size: 12 } }, tickfont: { size: 11 },
  };
  return {
    layout: {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("--ink") },
      hoverlabel: { bgcolor: colour("--sheet"), bordercolor: colour("--rule"), font: { color: colour("--ink") }, align: "left" },
      annotationdefaults: { bgcolor: colour("--veil"), borderpad: 1 },
      margin: { l: 8, r: 20, t: 8, b: 8 }, xaxis: axis, yaxis: axis, bargap: 0.02,
      dragmode: narrow.matches ? false : "zoom",
    },
  };
}

function draw() {
  for (const holder of document.querySelectorAll(".plot")) {
    const figure = JSON.parse(document.getElementById(`${holder.id}-data`).textContent);
    figure.layout.template = template();
    if (narrow.matches && holder.id === "map") figure.layout.legend = { orientation: "h", y: 0, yanchor: "top" };
    const settings = { responsive: true, displaylogo: false, displayModeBar: false, doubleClick: "reset" };
    Plotly.react(holder, figure.data, figure.layout, settings);
  }
}

// Paper is narrower than a window, and what is drawn already would be cut off at its edge.
const PAPER = { full: 680, half: 330 };

function fit(paper) {
  for (const holder of document.querySelectorAll(".plot")) {
    const width = holder.closest(".full") ? PAPER.full : PAPER.half;
    Plotly.relayout(holder, paper ? { width } : { width: null, autosize: true });
  }
}

draw();
addEventListener("beforeprint", () => fit(true));
addEventListener("afterprint", () => fit(false));
for (const query of [dark, narrow]) query.addEventListener("change", draw);
