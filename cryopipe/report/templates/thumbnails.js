// Thumbnails of particles: the inspector with three sections, and each cluster's gallery.

export function makeThumbnails(model, pictures) {
  const { data } = model, flags = data.arrays.pictured, { tile, across } = data.thumbnail;
  const places = new Map(); // per tomogram, particle -> place in its sheet

  function placeOf(i) {
    const tomogram = data.arrays.tomogram[i];
    if (!flags[i]) return -1;
    if (!places.has(tomogram)) {
      const found = new Map();
      for (const one of data.particlesOf[tomogram]) if (flags[one]) found.set(one, found.size);
      places.set(tomogram, found);
    }
    return places.get(tomogram).get(i);
  }

  // Draw the first `sections` of xy, xz, yz of a particle; false if the page holds no thumbnail of it.
  async function draw(canvas, i, sections) {
    const context = canvas.getContext("2d"), place = placeOf(i);
    canvas.dataset.particle = i;
    const sheet = place < 0 ? null : await pictures.image(data.arrays.tomogram[i], "thumbnails");
    if (canvas.dataset.particle !== String(i)) return true; // another particle was asked for meanwhile
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!sheet) return cutFromSection(canvas, context, i);
    const left = (place % across) * 3 * tile, top = Math.floor(place / across) * tile;
    context.imageSmoothingQuality = "high";
    context.drawImage(sheet, left, top, sections * tile, tile, 0, 0, canvas.width, canvas.height);
    return true;
  }

  // Without a thumbnail, the nearest stored xy section where it cuts the particle.
  async function cutFromSection(canvas, context, i) {
    const tomogram = data.arrays.tomogram[i], content = pictures.tomogram(tomogram);
    if (!content) return false;
    const strip = content.strips.xy, scale = strip.width / strip.voxels[0];
    const [x, y, z] = [0, 1, 2].map((axis) => data.arrays.position[3 * i + axis] / data.position_steps);
    const distances = strip.sections.map((one) => Math.abs(one - z)), row = distances.indexOf(Math.min(...distances));
    if (distances[row] > data.arrays.radius[i]) return false;
    const picture = await pictures.image(tomogram, "xy"), half = 1.5 * data.arrays.radius[i] * scale;
    if (!picture || canvas.dataset.particle !== String(i)) return false;
    const left = Math.max(0, (x + 0.5) * scale - half), top = Math.max(0, (y + 0.5) * scale - half);
    const right = Math.min(strip.width, (x + 0.5) * scale + half), bottom = Math.min(strip.height, (y + 0.5) * scale + half);
    context.drawImage(picture, left, row * strip.height + top, right - left, bottom - top, 0, 0, canvas.height, canvas.height);
    return true;
  }

  return { draw, has: (i) => placeOf(i) >= 0 };
}

// Facts and sections of the particle under the pointer, or else of the pinned one.
export function makeInspector(model, thumbnails, elements) {
  const { data } = model;
  async function update() {
    const i = model.hover >= 0 ? model.hover : model.pinned;
    elements.box.classList.toggle("idle", i < 0);
    if (i < 0) {
      elements.name.textContent = "No particle";
      elements.facts.textContent = "Move the pointer over a point, a circle or a thumbnail; click to keep it.";
      elements.sections.getContext("2d").clearRect(0, 0, elements.sections.width, elements.sections.height);
      elements.sections.dataset.particle = "";
      return;
    }
    const scores = data.scores
      .filter(({ name }) => Number.isFinite(data.arrays[name][i]))
      .map(({ name, title }) => title + " " + data.arrays[name][i].toFixed(2));
    elements.name.textContent = data.nameOf(i);
    elements.facts.textContent = [data.tomograms[data.arrays.tomogram[i]], model.lookOf(model.labels[i]).name, ...scores].join(", ");
    const drawn = await thumbnails.draw(elements.sections, i, 3);
    elements.note.hidden = drawn && thumbnails.has(i);
    elements.note.textContent = drawn ? "nearest stored section" : "no picture of this particle in the page";
  }
  model.listen((what) => { if (what !== "selected") update(); });
  update();
}

// The three sections of the particle under the pointer, beside it.
export function makeTip(model, thumbnails, tip) {
  const canvas = tip.querySelector("canvas"), text = tip.querySelector("span");
  let place = null;
  document.addEventListener("pointermove", function (event) {
    place = event.pointerType === "touch" ? null : [event.clientX, event.clientY];
    if (!tip.hidden) move();
  }, { capture: true });
  document.addEventListener("keydown", () => { tip.hidden = true; place = null; });
  function move() {
    const [x, y] = place || [0, 0], left = x + 18 + tip.offsetWidth > window.innerWidth ? x - 18 - tip.offsetWidth : x + 18;
    tip.style.left = Math.max(4, left) + "px";
    tip.style.top = Math.max(4, Math.min(y + 16, window.innerHeight - tip.offsetHeight - 4)) + "px";
  }
  model.listen(async function (what) {
    if (what !== "hover") return;
    const i = model.hover;
    if (i < 0 || !place) { tip.hidden = true; return; }
    text.textContent = model.data.nameOf(i) + ", " + model.lookOf(model.labels[i]).name;
    const drawn = await thumbnails.draw(canvas, i, 3);
    if (model.hover !== i) return;
    canvas.hidden = !drawn;
    tip.hidden = false;
    move();
  });
}

// Best, median and worst members by score; drawn when they come into view.
export function makeGallery(model, thumbnails, box, number, score) {
  const { data } = model, values = score ? data.arrays[score] : null;
  const members = [];
  for (let i = 0; i < data.count; i++) if ((data.arrays.decided || data.arrays.cluster)[i] === number && thumbnails.has(i)) members.push(i);
  if (values) members.sort((a, b) => values[b] - values[a] || a - b);
  const each = Math.min(6, Math.floor(members.length / 3) || members.length), half = Math.max(0, (members.length - each) >> 1);
  const parts = members.length <= 6
    ? [["members", members]]
    : [["best", members.slice(0, each)], ["median", members.slice(half, half + each)], ["worst", members.slice(-each)]];
  for (const [title, chosen] of parts) {
    if (!chosen.length) continue;
    const group = document.createElement("div"), caption = document.createElement("p");
    caption.textContent = title;
    group.append(caption);
    for (const i of chosen) {
      const button = document.createElement("button"), canvas = document.createElement("canvas");
      canvas.width = canvas.height = 56;
      button.type = "button";
      button.className = "member";
      button.setAttribute("aria-label", "Particle " + data.nameOf(i) + (values ? ", " + score + " " + values[i].toFixed(2) : ""));
      button.append(canvas);
      button.addEventListener("click", () => model.pin(i));
      button.addEventListener("pointerenter", () => model.setHover(i));
      button.addEventListener("pointerleave", () => model.setHover(-1));
      thumbnails.draw(canvas, i, 1);
      group.append(button);
    }
    box.append(group);
  }
}
