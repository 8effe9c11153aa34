// The page's script: one model of the selection links all views.

import { makeModel } from "./model.js";
import { makePictures, readPayload } from "./payload.js";
import { makePlane } from "./plane.js";
import { makeSlices } from "./slices.js";
import { makeGallery, makeInspector, makeThumbnails, makeTip } from "./thumbnails.js";
import { makeSurface } from "./surface.js";
import { makePanel } from "./decision_panel.js";
import { makeSortable } from "./tables.js";
import { replay } from "./decisions.js";
import { readCuration, writeCuration } from "./curation_file.js";

const find = (id) => document.getElementById(id);
const data = readPayload(), model = makeModel(data), pictures = makePictures(), thumbnails = makeThumbnails(model, pictures);

let plane = null;
if (find("plane")) {
  plane = makePlane(model, find("plane-points"), find("plane"), { lasso: find("lasso"), nearer: find("nearer"), farther: find("farther"), all: find("whole") });
  model.listen((what) => {
    if (what === "hover" || what === "pin") find("plane-status").textContent = model.hover >= 0 ? data.nameOf(model.hover) : "";
  });
}
if (find("slices")) {
  const slices = makeSlices(model, pictures, {
    canvas: find("slices"), tomograms: find("slice-tomogram"), planes: document.querySelectorAll("[name=slice-plane]"), slider: find("slice"), caption: find("slice-caption"),
  });
  for (const button of document.querySelectorAll(".open-tomogram"))
    button.addEventListener("click", function () {
      slices.open(Number(button.dataset.index));
      find("look").scrollIntoView();
    });
}
if (find("sections"))
  makeInspector(model, thumbnails, { box: find("inspector"), name: find("particle-name"), facts: find("particle-facts"), sections: find("sections"), note: find("sections-note") });

if (find("tip")) makeTip(model, thumbnails, find("tip"));
for (const button of document.querySelectorAll(".enlarge"))
  button.addEventListener("click", function () {
    const wide = find("look").querySelector(".bench").classList.toggle("single");
    for (const other of document.querySelectorAll(".enlarge")) other.setAttribute("aria-pressed", String(wide));
    window.dispatchEvent(new Event("resize"));
    button.closest("figure").scrollIntoView({ block: "nearest" });
  });
for (const button of document.querySelectorAll(".picture"))
  button.addEventListener("click", function () {
    find(button.dataset.canvas).toBlob(function (blob) {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(blob);
      link.download = button.dataset.canvas + ".png";
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    });
  });

// Filters.
const chips = document.querySelector(".chips");
if (chips)
  chips.addEventListener("click", function (event) {
    const chip = event.target.closest(".chip");
    if (!chip) return;
    if (event.altKey || event.shiftKey) model.only(Number(chip.dataset.cluster));
    else model.toggle(Number(chip.dataset.cluster));
  });
for (const button of document.querySelectorAll(".only")) button.addEventListener("click", () => model.only(Number(button.dataset.cluster)));
if (find("filters")) {
  const score = find("filter-score"), least = find("filter-least");
  const sorted = new Map();
  // The slider goes by rank, since some scores have few very high values: its middle is the median.
  const setScore = function () {
    const name = score.value, part = Number(least.value) / 1000;
    if (!sorted.has(name)) sorted.set(name, (data.arrays[name] || new Float32Array(0)).filter(Number.isFinite).sort());
    const values = sorted.get(name), limit = part > 0 && values.length ? values[Math.min(values.length - 1, Math.floor(part * values.length))] : -Infinity;
    find("filter-value").textContent = limit > -Infinity ? "≥ " + limit.toPrecision(3) : "any";
    model.setFilter({ score: name, least: limit });
  };
  least.addEventListener("input", setScore);
  score.addEventListener("change", setScore);
  find("filter-tomogram").addEventListener("change", (event) => model.setFilter({ tomogram: Number(event.target.value) }));
  find("clear-filters").addEventListener("click", function () {
    least.value = 0;
    find("filter-value").textContent = "any";
    find("filter-tomogram").value = "-1";
    model.clearFilters();
  });
}
model.listen(function (what) {
  if (what !== "shown" && what !== "decided") return;
  if (find("shown-count")) find("shown-count").textContent = model.shownCount.toLocaleString("en") + " of " + data.count.toLocaleString("en") + " particles shown";
  for (const chip of document.querySelectorAll(".chip")) chip.setAttribute("aria-pressed", String(!model.hidden.has(Number(chip.dataset.cluster))));
  for (const card of document.querySelectorAll(".card[data-cluster]")) card.classList.toggle("dimmed", model.hidden.has(Number(card.dataset.cluster)));
});

const decisions = makePanel(model);

// Cards draw their gallery and surface when they come into view.
const score = data.scores.length ? data.scores[0].name : "";
const watcher = new IntersectionObserver(function (entries) {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    watcher.unobserve(entry.target);
    drawCard(entry.target);
  }
}, { rootMargin: "300px" });
for (const card of document.querySelectorAll(".card[data-cluster]")) watcher.observe(card);
window.addEventListener("beforeprint", () => { for (const card of document.querySelectorAll(".card[data-cluster]")) { watcher.unobserve(card); drawCard(card); } });

function drawCard(card) {
  if (card.dataset.ready) return;
  card.dataset.ready = "yes";
  const number = Number(card.dataset.cluster), box = card.querySelector(".gallery"), surface = card.querySelector("script.surface");
  if (box) makeGallery(model, thumbnails, box, number, score);
  if (surface)
    makeSurface(card.querySelector("canvas.turning"), card.querySelector("[name=level]"), card.querySelector("output"), JSON.parse(surface.textContent));
}

for (const table of document.querySelectorAll("table.sortable")) makeSortable(table);
// What a link leads to is shown below the bar, whatever its height.
const bar = document.querySelector("nav");
new ResizeObserver(() => { document.documentElement.style.scrollPaddingTop = bar.offsetHeight + 12 + "px"; }).observe(bar);

// For the browser's console.
window.cryopipe = { data, model, decisions, plane, replay, readCuration, writeCuration };
document.documentElement.dataset.ready = "yes";
