// Sections of a tomogram with the particles that they cut, as circles.

import { onFrame } from "./model.js";

export function makeSlices(model, pictures, elements) {
  const { data } = model, { position, radius } = data.arrays, steps = data.position_steps;
  const { canvas, tomograms, planes, slider, caption } = elements;
  const context = canvas.getContext("2d");
  let index = pictures.indices.length ? pictures.indices[0] : -1, plane = "xy", picture = null, frame = null;

  for (const one of pictures.indices) tomograms.append(new Option(data.tomograms[one], one));

  async function open(next, section = null) {
    index = next;
    const content = pictures.tomogram(index);
    if (!content) return;
    const strip = content.strips[plane], changed = tomograms.value !== String(index);
    if (changed) tomograms.value = String(index);
    slider.max = strip.sections.length - 1;
    slider.value = section === null ? Math.floor(strip.sections.length / 2) : nearestSection(strip, section);
    picture = await pictures.image(index, plane);
    draw();
  }

  function nearestSection(strip, value) {
    let best = 0;
    strip.sections.forEach((one, i) => { if (Math.abs(one - value) < Math.abs(strip.sections[best] - value)) best = i; });
    return best;
  }

  const at = (i, axis) => position[3 * i + axis] / steps;
  const axes = () => (plane === "xy" ? [0, 1, 2] : [0, 2, 1]); // across, down, through

  // Particles cut by the section: index, centre and radius in pixels of the picture.
  function circles(strip, section) {
    const [across, down, through] = axes(), scale = strip.width / strip.voxels[0], found = [];
    for (const i of data.particlesOf[index] || []) {
      const offset = at(i, through) - section;
      if (!model.shown[i] || Math.abs(offset) >= radius[i]) continue;
      found.push([i, (at(i, across) + 0.5) * scale, (at(i, down) + 0.5) * scale, Math.sqrt(radius[i] ** 2 - offset ** 2) * scale]);
    }
    return found;
  }

  const draw = onFrame(function () {
    const content = pictures.tomogram(index);
    if (!content || !picture) return;
    const strip = content.strips[plane], row = Number(slider.value), section = strip.sections[row];
    const ratio = window.devicePixelRatio || 1, shape = strip.height / strip.width;
    const width = Math.min(canvas.parentElement.clientWidth, (canvas.closest(".single") ? 0.8 * window.innerHeight : Math.min(0.58 * window.innerHeight, 464)) / Math.max(shape, 0.001));
    canvas.style.width = width + "px";
    canvas.style.height = width * shape + "px";
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.max(1, Math.round(width * shape * ratio));
    const zoom = canvas.width / strip.width;
    context.drawImage(picture, 0, row * strip.height, strip.width, strip.height, 0, 0, canvas.width, canvas.height);
    const found = circles(strip, section);
    for (const [i, x, y, size] of found) {
      const strong = i === model.hover || i === model.pinned;
      context.globalAlpha = model.selectedCount && !model.selected[i] && !strong ? 0.3 : 1;
      context.lineWidth = (strong ? 4 : 1.8) * ratio;
      context.strokeStyle = strong ? "#fff" : model.lookOf(model.labels[i]).colour;
      context.beginPath();
      context.arc(x * zoom, y * zoom, Math.max(2, size * zoom), 0, 2 * Math.PI);
      context.stroke();
      if (strong) {
        context.lineWidth = 2 * ratio;
        context.strokeStyle = model.lookOf(model.labels[i]).colour;
        context.stroke();
      }
    }
    context.globalAlpha = 1;
    const nanometres = drawBar(strip, content.voxel_size, zoom, ratio);
    frame = { found, zoom: zoom / ratio };
    const axis = plane === "xy" ? "z" : "y";
    caption.textContent = content.name + ", section " + axis + " = " + section + ", "
      + found.length.toLocaleString("en") + (found.length === 1 ? " particle" : " particles") + " in this section; bar " + nanometres + " nm";
    slider.setAttribute("aria-valuetext", axis + " = " + section);
  });

  // A bar of a round length, at most a fifth of the width; returns nanometres.
  function drawBar(strip, voxelSize, zoom, ratio) {
    const perPixel = (voxelSize * strip.voxels[0]) / strip.width / 10 / zoom, limit = (canvas.width * perPixel) / 5;
    const power = 10 ** Math.floor(Math.log10(limit));
    const length = [5, 2, 1].map((step) => step * power).find((one) => one <= limit) || power;
    const left = 12 * ratio, top = canvas.height - 14 * ratio;
    for (const [colour, thick] of [["#000", 6], ["#fff", 3]]) {
      context.strokeStyle = colour;
      context.lineWidth = thick * ratio;
      context.beginPath();
      context.moveTo(left, top);
      context.lineTo(left + length / perPixel, top);
      context.stroke();
    }
    context.font = "600 " + 13 * ratio + "px system-ui, sans-serif";
    context.lineWidth = 3 * ratio;
    context.strokeStyle = "#000";
    context.fillStyle = "#fff";
    const text = Number(length.toPrecision(3)) + " nm";
    context.strokeText(text, left, top - 7 * ratio);
    context.fillText(text, left, top - 7 * ratio);
    return Number(length.toPrecision(3));
  }

  function under(event) {
    if (!frame) return -1;
    let found = -1, least = Infinity;
    for (const [i, x, y, size] of frame.found) {
      const distance = Math.hypot(event.offsetX - x * frame.zoom, event.offsetY - y * frame.zoom);
      if (distance < Math.max(6, size * frame.zoom + 3) && distance < least) { least = distance; found = i; }
    }
    return found;
  }

  // Open the tomogram and section of a particle.
  function show(i) {
    const through = axes()[2];
    return open(data.arrays.tomogram[i], at(i, through));
  }

  canvas.addEventListener("pointermove", (event) => model.setHover(under(event)));
  canvas.addEventListener("pointerleave", () => model.setHover(-1));
  canvas.addEventListener("click", (event) => model.pin(under(event)));
  canvas.addEventListener("wheel", function (event) {
    if (!event.ctrlKey && document.activeElement !== slider) return;
    event.preventDefault();
    slider.value = Number(slider.value) + Math.sign(event.deltaY);
    draw();
  }, { passive: false });
  slider.addEventListener("input", draw);
  tomograms.addEventListener("change", () => open(Number(tomograms.value)));
  for (const choice of planes)
    choice.addEventListener("change", function () { plane = choice.value; open(index, model.pinned >= 0 && data.arrays.tomogram[model.pinned] === index ? at(model.pinned, axes()[2]) : null); });
  model.listen(function (what) {
    if (what === "pin" && model.pinned >= 0 && pictures.tomogram(data.arrays.tomogram[model.pinned])) show(model.pinned);
    else draw();
  });
  window.addEventListener("resize", draw);
  if (index >= 0) open(index);
  return { open, show };
}
