// The one state of the page: which particles are shown, under the pointer, pinned and selected.

export function makeModel(data) {
  const listeners = [];
  const { cluster, tomogram } = data.arrays;
  const looks = new Map(data.clusters.map((one) => [one.number, { ...one }]));
  const model = {
    data, looks,
    labels: data.arrays.decided || cluster, // cluster of each particle after the decisions
    status: new Map(),
    hover: -1, pinned: -1,
    hidden: new Set(), tomogram: -1, score: "", least: -Infinity,
    shown: new Uint8Array(data.count).fill(1), shownCount: data.count,
    selected: new Uint8Array(data.count), selectedCount: 0,

    listen(listener) { listeners.push(listener); },
    lookOf(number) { return looks.get(number) || { number, name: "cluster " + number, colour: "#8c8c8c", marker: "circle" }; },
    // Hover (transient) and pin (stays): the particle whose sections are shown.
    setHover(i) { if (i !== model.hover) { model.hover = i; tell("hover"); } },
    pin(i) { model.pinned = i; tell("pin"); },
    toggle(number) { if (!model.hidden.delete(number)) model.hidden.add(number); filter(); },
    only(number) { // show one cluster alone, or all again
      const alone = !model.hidden.has(number) && model.hidden.size === looks.size - 1;
      model.hidden = new Set(alone ? [] : [...looks.keys()].filter((one) => one !== number));
      filter();
    },
    setFilter(change) { Object.assign(model, change); filter(); },
    clearFilters() { Object.assign(model, { hidden: new Set(), tomogram: -1, least: -Infinity }); filter(); },
    select(mask) {
      model.selected = mask || new Uint8Array(data.count);
      model.selectedCount = model.selected.reduce((sum, one) => sum + one, 0);
      tell("selected");
    },
    setDecided(labels, status) { Object.assign(model, { labels, status }); filter(); tell("decided"); },
  };

  function filter() {
    const values = model.score ? data.arrays[model.score] : null, { hidden, least } = model;
    let count = 0;
    for (let i = 0; i < data.count; i++) {
      const shown = !hidden.has(model.labels[i])
        && (model.tomogram < 0 || tomogram[i] === model.tomogram)
        && (!values || least === -Infinity || values[i] >= least);
      model.shown[i] = shown ? 1 : 0;
      count += model.shown[i];
    }
    model.shownCount = count;
    tell("shown");
  }

  function tell(what) { for (const listener of listeners) listener(what); }
  return model;
}

// Run a drawing once before the next frame, however often it is asked for.
export function onFrame(draw) {
  let waiting = false;
  return function () {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  };
}

export function rgb(colour) {
  const value = parseInt(colour.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}
