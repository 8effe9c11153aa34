// Controls of the decisions: buttons of the cluster cards, of a selection and of tomograms; list, undo, save, load.

import { STATES, describe, makeDecisions, people } from "./decisions.js";
import { readCuration, writeCuration } from "./curation_file.js";

export function makePanel(model) {
  const { data } = model, find = (id) => document.getElementById(id);
  const list = find("decision-list"), status = find("decision-status"), carded = new Set([...document.querySelectorAll(".card[data-cluster]")].map((card) => Number(card.dataset.cluster)));
  let state = null, saved = data.past ? data.past.decisions : [];

  const decisions = makeDecisions(data, function (next, all) {
    state = next;
    for (const number of next.states.keys()) appear(number, next);
    model.setDecided(next.labels, next.states);
    show(all);
  });

  // Name, colour and marker of a cluster, as cryopipe.palette gives them.
  function appear(number, next) {
    const name = next.names.get(number), parent = next.pending.get(number), palette = data.colours;
    const text = "cluster " + number + (name ? ": " + name : parent ? ", a part of cluster " + parent : "");
    const marker = data.markers[Math.floor((number - 1) / palette.length) % data.markers.length];
    model.looks.set(number, { number, name: text, colour: palette[(number - 1) % palette.length], marker });
  }

  function show(all) {
    const counts = new Map();
    for (const label of state.labels) counts.set(label, (counts.get(label) || 0) + 1);
    list.replaceChildren(...all.map(function (decision, index) {
      const item = document.createElement("li"), button = document.createElement("button"), { outcome, detail } = state.outcomes[index];
      item.textContent = describe(decision) + (detail || outcome !== "applied" ? " – " + [outcome === "applied" ? "" : outcome, detail].filter(Boolean).join(": ") : "") + " ";
      item.classList.toggle("failed", outcome !== "applied");
      button.type = "button";
      button.textContent = "remove";
      button.setAttribute("aria-label", "Remove decision " + (index + 1) + ": " + describe(decision));
      button.addEventListener("click", () => decisions.removeAt(index));
      item.append(button);
      return item;
    }));
    find("no-decisions").hidden = all.length > 0;
    for (const count of document.querySelectorAll(".decision-count"))
      count.textContent = all.length + (all.length === 1 ? " decision" : " decisions");
    for (const button of document.querySelectorAll(".undo")) button.disabled = !decisions.canUndo;
    find("redo").disabled = !decisions.canRedo;
    const fresh = [...state.states.keys()].filter((number) => !carded.has(number));
    find("new-clusters").textContent = fresh.length
      ? "New: " + fresh.map((number) => model.lookOf(number).name + (counts.has(number) ? " (" + people(counts.get(number)) + ")" : "")).join("; ") + "."
      : "";
    for (const number of fresh) addChip(number);
    for (const card of document.querySelectorAll(".card[data-cluster]")) showCard(card, counts);
    for (const cell of document.querySelectorAll("[data-state-of]")) {
      const number = Number(cell.dataset.stateOf);
      cell.textContent = state.states.has(number) ? STATES[state.states.get(number)] : "gone";
      cell.closest("tr").dataset.state = cell.textContent;
    }
    for (const button of document.querySelectorAll(".bad-tomogram"))
      button.setAttribute("aria-pressed", String(state.bad.has(data.tomograms.indexOf(button.dataset.tomogram))));
    for (const chip of document.querySelectorAll(".chip")) {
      const number = Number(chip.dataset.cluster);
      chip.querySelector(".count").textContent = (counts.get(number) || 0).toLocaleString("en");
      chip.querySelector(".chip-name").textContent = model.lookOf(number).name;
      chip.hidden = number > 0 && !state.states.has(number);
    }
  }

  // A new cluster has a button beside those of the others.
  function addChip(number) {
    if (document.querySelector('.chip[data-cluster="' + number + '"]')) return;
    const chip = document.querySelector(".chip").cloneNode(true), look = model.lookOf(number);
    chip.dataset.cluster = number;
    chip.title = "Show or hide " + look.name + "; with Shift, show it alone";
    chip.setAttribute("aria-pressed", String(!model.hidden.has(number)));
    chip.querySelector(".marker").setAttribute("fill", look.colour);
    document.querySelector(".chips").append(chip);
  }

  function showCard(card, counts) {
    const number = Number(card.dataset.cluster), here = state.states.has(number), text = here ? STATES[state.states.get(number)] : state.gone.get(number) || "";
    card.dataset.state = here ? text : "gone";
    card.querySelector(".state").textContent = here ? (text === "open" ? "" : text) : text;
    card.querySelector(".card-name").textContent = model.lookOf(number).name.replace("cluster", "Cluster");
    card.querySelector(".card-note").textContent = state.notes.get(number) || "";
    for (const button of card.querySelectorAll("[data-decide]")) {
      const pressed = { accept: "accepted", reject: "rejected" }[button.dataset.decide];
      if (pressed) button.setAttribute("aria-pressed", String(text === pressed));
    }
    for (const control of card.querySelectorAll(".decide button, .decide input, .decide select")) control.disabled = !here;
    const now = counts.get(number) || 0;
    card.querySelector(".now").textContent = here && now !== card.dataset.count * 1 ? "now " + people(now) : "";
  }

  for (const card of document.querySelectorAll(".card[data-cluster]")) {
    const number = Number(card.dataset.cluster), field = (name) => card.querySelector("[name=" + name + "]");
    card.querySelector(".decide").addEventListener("click", function (event) {
      const button = event.target.closest("[data-decide]");
      if (!button) return;
      const made = madeOn(button.dataset.decide, number, field);
      if (typeof made === "string") say(made);
      else if (made) decisions.add(made);
    });
  }

  function madeOn(kind, number, field) {
    if (kind === "accept" || kind === "reject") return { [kind]: number };
    if (kind === "merge") return field("other").value ? { merge: [number, Number(field("other").value)] } : "Choose the cluster to merge.";
    if (kind === "split") return { split: number, into: Math.min(20, Math.max(2, Math.round(Number(field("parts").value)) || 2)) };
    const text = plainText(field({ rename: "title", note: "remark", choose: "above" }[kind]).value);
    if (!text) return kind === "choose" ? "Give the lowest score to keep." : "Write the text first.";
    if (kind === "rename") return { rename: number, name: text };
    if (kind === "note") return { note: number, text };
    return Number.isFinite(Number(text)) ? { choose: number, above: Number(text), score: field("score").value } : text + " is not a number.";
  }

  find("selection").addEventListener("click", function (event) {
    const button = event.target.closest("[data-select]");
    if (!button) return;
    if (button.dataset.select === "shown") return model.select(Uint8Array.from(model.shown));
    if (button.dataset.select === "none") return model.select(null);
    const rows = [];
    for (let i = 0; i < data.count; i++) if (model.selected[i]) rows.push(i);
    if (!rows.length) return say("Select particles first: with the lasso, or all that the filters show.");
    const number = 1 + decisions.list.filter((one) => "select" in one).length;
    const name = plainText(find("selection-name").value) || "L" + number;
    const clusters = [...new Set(rows.map((i) => state.labels[i]))].sort((a, b) => a - b);
    decisions.add({ select: name, from_clusters: clusters.filter(Boolean), particles: rows.map(data.nameOf), as: button.dataset.select });
    find("selection-name").value = "";
    model.select(null);
  });

  for (const button of document.querySelectorAll(".bad-tomogram"))
    button.addEventListener("click", function () {
      const name = button.dataset.tomogram, index = decisions.list.findIndex((one) => one.bad_tomogram === name);
      if (index < 0) decisions.add({ bad_tomogram: name });
      else decisions.removeAt(index);
    });

  // Other spaces and characters without a picture, as pasted from elsewhere, become spaces.
  function plainText(text) { return text.replace(/[\p{C}\p{Z}]+/gu, " ").trim(); }

  function say(text) { status.textContent = text; }

  for (const button of document.querySelectorAll(".undo")) button.addEventListener("click", () => decisions.undo());
  find("redo").addEventListener("click", () => decisions.redo());
  for (const button of document.querySelectorAll(".save"))
    button.addEventListener("click", function () {
      const address = URL.createObjectURL(new Blob([writeCuration(data.run, decisions.list)], { type: "text/yaml" }));
      const link = document.createElement("a");
      link.href = address;
      link.download = "curation.yaml";
      link.click();
      setTimeout(() => URL.revokeObjectURL(address), 10000);
      saved = decisions.list;
      say("Saved as curation.yaml. Move it to config/ and set curation: config/curation.yaml in config/config.yaml.");
    });
  find("load").addEventListener("change", async function () {
    const file = this.files[0];
    this.value = "";
    if (!file) return;
    try {
      const { run, decisions: loaded } = readCuration(await file.text());
      if (run !== data.run) return say("Not loaded: " + file.name + " belongs to the clusters " + run + ", this report shows the clusters " + data.run + ".");
      decisions.replace(loaded);
      saved = loaded;
      const partial = state.outcomes.filter(({ outcome }) => outcome !== "applied").length;
      say("Loaded " + loaded.length + (loaded.length === 1 ? " decision" : " decisions") + " from " + file.name + (partial ? "; " + partial + " cannot be applied in full, see the list." : "."));
    } catch (error) {
      say("Not loaded: " + file.name + ": " + error.message + ".");
    }
  });
  document.addEventListener("keydown", function (event) {
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z" || event.target.matches("input, textarea, select")) return;
    event.preventDefault();
    if (event.shiftKey) decisions.redo();
    else decisions.undo();
  });
  window.addEventListener("beforeunload", function (event) { if (decisions.list.length && decisions.list !== saved) event.preventDefault(); });
  model.listen(function (what) {
    if (what === "selected") find("selection-count").textContent = people(model.selectedCount) + " selected";
  });
  decisions.refresh();
  return decisions;
}
