// Decisions in order and their replay on the page, as `cryopipe.curation.apply` replays them on the run.

const OPEN = 0, ACCEPTED = 1, REJECTED = 2;
export const STATES = ["open", "accepted", "rejected"];

// The result of decisions on the particles of a run. `data` has `count`, `arrays` (cluster, tomogram, scores), `clusters`,
// `tomograms`, `indexOf` and `particlesOf`. Returns labels, and by cluster its state, name and note, and one outcome per decision.
export function replay(data, decisions) {
  const past = data.past && follows(decisions, data.past.decisions) ? data.past : null;
  const state = past ? afterPast(data, past) : asFound(data);
  for (const decision of decisions.slice(state.outcomes.length)) state.outcomes.push(applyOne(data, state, decision));
  return state;
}

function emptyState(labels) {
  return { labels: Uint16Array.from(labels), own: new Uint8Array(labels.length), states: new Map(), names: new Map(), notes: new Map(), gone: new Map(), pending: new Map(), bad: new Set(), outcomes: [] };
}

function asFound(data) {
  const state = emptyState(data.arrays.cluster), found = new Set(state.labels);
  for (const { number, label } of data.clusters) {
    if (!number || !found.has(number)) continue;
    state.states.set(number, OPEN);
    if (label) state.names.set(number, label);
  }
  return state;
}

// The state that the run itself has after the decisions of an earlier look, splits included.
function afterPast(data, past) {
  const state = emptyState(data.arrays.decided);
  for (const [number, value] of Object.entries(past.states)) state.states.set(Number(number), value);
  for (const which of ["names", "notes"]) for (const [number, text] of Object.entries(past[which])) state[which].set(Number(number), text);
  for (const decision of past.decisions) if ("bad_tomogram" in decision) state.bad.add(data.tomograms.indexOf(decision.bad_tomogram));
  state.outcomes = past.decisions.map((_, i) => past.outcomes[i] || applied(""));
  for (const { number } of data.clusters) if (number && !state.states.has(number)) state.gone.set(number, "cluster " + number + " no longer exists after the decisions");
  return state;
}

function follows(decisions, first) {
  return first.every((decision, i) => decision === decisions[i] || JSON.stringify(decision) === JSON.stringify(decisions[i]));
}

function applyOne(data, state, decision) {
  if ("select" in decision) return applySelection(data, state, decision);
  if ("bad_tomogram" in decision) {
    const index = data.tomograms.indexOf(decision.bad_tomogram);
    if (index < 0 || !data.particlesOf[index].length) return failed("tomogram " + decision.bad_tomogram + " has no particles in this run");
    state.bad.add(index);
    return applied(people(remove(state, data.particlesOf[index])) + " removed");
  }
  if ("merge" in decision) return applyMerge(state, decision.merge);
  const number = clusterOf(decision), missing = missingText(state, number);
  if (missing) return failed(missing);
  if ("accept" in decision) state.states.set(number, ACCEPTED);
  else if ("reject" in decision) state.states.set(number, REJECTED);
  else if ("rename" in decision) state.names.set(number, decision.name);
  else if ("note" in decision) state.notes.set(number, [state.notes.get(number), decision.text].filter(Boolean).join(" "));
  else if ("choose" in decision) return applyChoice(data, state, number, decision);
  else if ("split" in decision) return applySplit(state, number, decision.into);
  return applied("");
}

function applyMerge(state, clusters) {
  const missing = clusters.map((number) => missingText(state, number)).filter(Boolean);
  const [first, ...others] = clusters.filter((number) => state.states.has(number));
  if (!others.length) return failed(missing.join("; "));
  for (const number of others) {
    for (let i = 0; i < state.labels.length; i++) if (state.labels[i] === number) state.labels[i] = first;
    forget(state, number, "cluster " + number + " was merged into cluster " + first);
  }
  return missing.length ? partly(missing.join("; ")) : applied("");
}

function applyChoice(data, state, number, { above, score = "posterior" }) {
  const values = data.arrays[score];
  if (!values) return failed("the particles of this run have no " + score + " score");
  const rows = [];
  for (let i = 0; i < data.count; i++) if (state.labels[i] === number && !(values[i] >= Math.fround(above))) rows.push(i);
  return applied(people(remove(state, rows)) + " removed");
}

// The page does not divide a cluster; it keeps the numbers that the parts will have.
function applySplit(state, number, into) {
  for (let part = 1; part < into; part++) {
    const fresh = freshNumber(state);
    state.states.set(fresh, state.states.get(number));
    state.pending.set(fresh, number);
  }
  return applied("divided by the features when the run is replayed");
}

function applySelection(data, state, decision) {
  const found = decision.particles.map((name) => data.indexOf(name)), rows = found.filter((i) => i >= 0);
  const details = [], lost = found.indexOf(-1);
  if (lost >= 0) details.push(people(found.length - rows.length) + " not in this run, such as " + decision.particles[lost]);
  let used = rows.length;
  if (decision.as === "reject") remove(state, rows);
  else if (decision.as === "accept") {
    const clustered = rows.filter((i) => state.labels[i]);
    for (const i of clustered) state.own[i] = ACCEPTED;
    used = clustered.length;
    if (used < rows.length) details.push(people(rows.length - used) + " unassigned; make a cluster of them");
  } else if (decision.as === "split" && used) {
    const number = freshNumber(state);
    state.states.set(number, OPEN);
    for (const i of rows) { state.labels[i] = number; state.own[i] = OPEN; }
    state.names.set(number, decision.select);
    details.unshift("cluster " + number);
    forgetEmpty(state, "all its particles are in selection " + decision.select);
  }
  if (!used) return failed(details.join("; "));
  return used === found.length ? applied(details.join("; ")) : partly(details.join("; "));
}

function remove(state, rows) {
  let clustered = 0;
  for (const i of rows) {
    if (state.labels[i]) clustered++;
    state.labels[i] = 0;
    state.own[i] = REJECTED;
  }
  forgetEmpty(state, "all its particles were removed");
  return clustered;
}

function forgetEmpty(state, why) {
  const present = new Set(state.labels);
  for (const number of [...state.states.keys()])
    if (!present.has(number) && !state.pending.has(number)) forget(state, number, "cluster " + number + " no longer exists: " + why);
}

function forget(state, number, why) {
  state.gone.set(number, why);
  for (const values of [state.states, state.names, state.notes, state.pending]) values.delete(number);
}

function freshNumber(state) {
  return Math.max(0, ...state.states.keys(), ...state.gone.keys()) + 1;
}

function missingText(state, number) {
  return state.states.has(number) ? "" : state.gone.get(number) || "this run has no cluster " + number;
}

const applied = (detail) => ({ outcome: "applied", detail });
const partly = (detail) => ({ outcome: "partly applied", detail });
const failed = (detail) => ({ outcome: "not applied", detail });

export function people(count) {
  return count.toLocaleString("en") + (count === 1 ? " particle" : " particles");
}

function clusterOf(decision) {
  for (const key of ["accept", "reject", "rename", "note", "choose", "split"]) if (key in decision) return decision[key];
  return 0;
}

// A decision as one line for the list.
export function describe(decision) {
  if ("accept" in decision) return "Accept cluster " + decision.accept;
  if ("reject" in decision) return "Reject cluster " + decision.reject;
  if ("merge" in decision) return "Merge clusters " + decision.merge.join(", ");
  if ("split" in decision) return "Split cluster " + decision.split + " into " + decision.into + " by its features";
  if ("rename" in decision) return "Name cluster " + decision.rename + " “" + decision.name + "”";
  if ("note" in decision) return "Note on cluster " + decision.note + ": " + decision.text;
  if ("choose" in decision) return "Keep of cluster " + decision.choose + " particles with " + (decision.score || "posterior") + " of at least " + decision.above;
  if ("bad_tomogram" in decision) return "Leave out tomogram " + decision.bad_tomogram;
  const purposes = { accept: "Accept", reject: "Reject", label: "Label", split: "Make a cluster of" };
  return purposes[decision.as] + " " + people(decision.particles.length) + " (“" + decision.select + "”)";
}

// The list of decisions with undo; `changed` is called with the replayed state.
export function makeDecisions(data, changed) {
  let list = data.past ? data.past.decisions : [], undone = [];
  const past = [];
  function set(next) { list = next; changed(replay(data, list), list); }
  return {
    get list() { return list; },
    refresh() { set(list); },
    add(decision) { past.push(list); undone = []; set([...list, decision]); },
    removeAt(index) { past.push(list); undone = []; set(list.filter((_, i) => i !== index)); },
    replace(next) { past.push(list); undone = []; set(next); },
    undo() { if (past.length) { undone.push(list); set(past.pop()); } },
    redo() { if (undone.length) { past.push(list); set(undone.pop()); } },
    get canUndo() { return past.length > 0; },
    get canRedo() { return undone.length > 0; },
  };
}
