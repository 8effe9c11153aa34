// The embedding: every shown particle as a point; hover, pin, pan, zoom, lasso.

import { onFrame, rgb } from "./model.js";

const MARKERS_UP_TO = 12000; // beyond, points are squares drawn into pixels

export function makePlane(model, base, overlay, tools) {
  const { data } = model, plane = data.arrays.plane, count = data.count;
  const context = base.getContext("2d", { alpha: true }), above = overlay.getContext("2d");
  const bounds = limits();
  let zoom = 1, middle = [(bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2];
  let width = 0, height = 0, scale = 1, lasso = null, dragging = null, lassoing = false;

  function limits() {
    let [left, low, right, high] = [Infinity, Infinity, -Infinity, -Infinity];
    for (let i = 0; i < count; i++) {
      const x = plane[2 * i], y = plane[2 * i + 1];
      if (x === -32768) continue;
      if (x < left) left = x;
      if (x > right) right = x;
      if (y < low) low = y;
      if (y > high) high = y;
    }
    return left <= right ? [left, low, right, high] : [-1, -1, 1, 1];
  }

  const screenX = (i) => width / 2 + (plane[2 * i] - middle[0]) * scale;
  const screenY = (i) => height / 2 - (plane[2 * i + 1] - middle[1]) * scale;
  const usable = (i) => model.shown[i] && plane[2 * i] !== -32768;

  const draw = onFrame(function () {
    const ratio = window.devicePixelRatio || 1;
    width = base.clientWidth;
    height = base.clientHeight;
    for (const canvas of [base, overlay]) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const fit = Math.min((width - 40) / (bounds[2] - bounds[0] || 1), (height - 40) / (bounds[3] - bounds[1] || 1));
    scale = fit * zoom;
    if (model.shownCount > MARKERS_UP_TO) drawPixels(ratio);
    else drawMarkers(ratio);
    drawOverlay();
  });

  // Unassigned particles first, so that they never cover a cluster; clusters mixed, so that none covers another whole.
  function forEachPoint(visit) {
    const looks = new Map();
    for (const unassigned of [true, false])
      for (let i = 0; i < count; i++) {
        const number = model.labels[i];
        if ((number === 0) !== unassigned || !usable(i)) continue;
        if (!looks.has(number)) looks.set(number, model.lookOf(number));
        visit(i, looks.get(number), unassigned, model.selectedCount > 0 && !model.selected[i]);
      }
  }

  function drawMarkers(ratio) {
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const size = Math.max(2, Math.min(5, 90 / Math.sqrt(model.shownCount || 1))) * Math.min(2, Math.sqrt(zoom));
    forEachPoint(function (i, look, unassigned, faint) {
      context.fillStyle = look.colour;
      context.globalAlpha = (unassigned ? 0.45 : 0.75) * (faint ? 0.25 : 1);
      context.beginPath();
      tracePoint(context, look.marker, screenX(i), screenY(i), size);
      context.fill();
    });
    context.globalAlpha = 1;
  }

  function drawPixels(ratio) {
    const image = context.createImageData(base.width, base.height), pixels = new Uint32Array(image.data.buffer);
    const size = Math.max(1, Math.round(ratio * Math.min(3, 1.6 * Math.sqrt(zoom)))), colours = new Map();
    forEachPoint(function (i, look, unassigned, faint) {
      if (!colours.has(look)) colours.set(look, rgb(look.colour));
      const [red, green, blue] = colours.get(look), alpha = faint ? 60 : unassigned ? 110 : 210;
      const colour = (alpha << 24) | (blue << 16) | (green << 8) | red;
      const left = Math.round(screenX(i) * ratio), top = Math.round(screenY(i) * ratio);
      for (let y = Math.max(0, top); y < Math.min(base.height, top + size); y++)
        for (let x = Math.max(0, left); x < Math.min(base.width, left + size); x++) pixels[y * base.width + x] = colour;
    });
    context.putImageData(image, 0, 0);
  }

  function drawOverlay() {
    const ratio = window.devicePixelRatio || 1, ink = getComputedStyle(base).color;
    above.setTransform(ratio, 0, 0, ratio, 0, 0);
    above.clearRect(0, 0, width, height);
    above.strokeStyle = ink;
    for (const [i, line] of [[model.pinned, 2.5], [model.hover, 1.5]]) {
      if (i < 0 || !usable(i)) continue;
      above.lineWidth = line;
      above.beginPath();
      above.arc(screenX(i), screenY(i), 9, 0, 2 * Math.PI);
      above.stroke();
    }
    if (lasso) {
      above.setLineDash([5, 4]);
      above.lineWidth = 1.5;
      above.beginPath();
      lasso.forEach(([x, y], k) => (k ? above.lineTo(x, y) : above.moveTo(x, y)));
      above.closePath();
      above.stroke();
      above.setLineDash([]);
    }
  }
  const drawAbove = onFrame(drawOverlay);

  function nearest(x, y) {
    let found = -1, least = 144;
    for (let i = 0; i < count; i++) {
      if (!usable(i)) continue;
      const distance = (screenX(i) - x) ** 2 + (screenY(i) - y) ** 2;
      if (distance < least) { least = distance; found = i; }
    }
    return found;
  }

  function selectInside(corners) {
    const xs = corners.map(([x]) => x), ys = corners.map(([, y]) => y), mask = new Uint8Array(count);
    const box = [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
    for (let i = 0; i < count; i++) {
      if (!usable(i)) continue;
      const x = screenX(i), y = screenY(i);
      if (x >= box[0] && x <= box[2] && y >= box[1] && y <= box[3] && insidePolygon(corners, x, y)) mask[i] = 1;
    }
    model.select(mask);
  }

  function zoomBy(factor, x = width / 2, y = height / 2) {
    const next = Math.min(60, Math.max(1, zoom * factor)), ratio = next / zoom;
    middle[0] += ((x - width / 2) / scale) * (1 - 1 / ratio);
    middle[1] -= ((y - height / 2) / scale) * (1 - 1 / ratio);
    zoom = next;
    draw();
  }

  function setLasso(on) {
    lassoing = on;
    tools.lasso.setAttribute("aria-pressed", String(on));
    overlay.classList.toggle("lassoing", on);
  }

  overlay.addEventListener("pointerdown", function (event) {
    overlay.setPointerCapture(event.pointerId);
    const place = [event.offsetX, event.offsetY];
    if (lassoing || event.shiftKey) lasso = [place];
    else dragging = { place, middle: [...middle], moved: false };
  });
  overlay.addEventListener("pointermove", function (event) {
    const [x, y] = [event.offsetX, event.offsetY];
    if (lasso) {
      lasso.push([x, y]);
      drawAbove();
    } else if (dragging) {
      const [dx, dy] = [x - dragging.place[0], y - dragging.place[1]];
      if (Math.hypot(dx, dy) > 4) dragging.moved = true;
      if (!dragging.moved) return;
      middle = [dragging.middle[0] - dx / scale, dragging.middle[1] + dy / scale];
      draw();
    } else model.setHover(nearest(x, y));
  });
  overlay.addEventListener("pointerup", function (event) {
    if (lasso) {
      if (lasso.length > 2) selectInside(lasso);
      lasso = null;
      setLasso(false);
    } else if (dragging && !dragging.moved) model.pin(nearest(event.offsetX, event.offsetY));
    dragging = null;
    drawAbove();
  });
  overlay.addEventListener("pointercancel", () => { lasso = dragging = null; drawAbove(); });
  overlay.addEventListener("pointerleave", () => { if (!lasso && !dragging) model.setHover(-1); });
  overlay.addEventListener("wheel", function (event) {
    if (!event.ctrlKey && document.activeElement !== overlay) return; // else the page scrolls
    event.preventDefault();
    zoomBy(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
  }, { passive: false });
  overlay.addEventListener("keydown", function (event) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step) {
      for (let tries = 0, next = model.hover; tries < count; tries++) {
        next = (next + step + count) % count;
        if (usable(next)) { model.setHover(next); break; }
      }
    } else if (event.key === "Enter") model.pin(model.hover);
    else if (event.key === "+" || event.key === "=") zoomBy(1.4);
    else if (event.key === "-") zoomBy(1 / 1.4);
    else if (event.key === "0") reset();
    else if (event.key === "Escape") model.select(null);
    else return;
    event.preventDefault();
  });
  function reset() {
    zoom = 1;
    middle = [(bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2];
    draw();
  }
  tools.lasso.addEventListener("click", () => setLasso(!lassoing));
  tools.nearer.addEventListener("click", () => zoomBy(1.6));
  tools.farther.addEventListener("click", () => zoomBy(1 / 1.6));
  tools.all.addEventListener("click", reset);
  model.listen((what) => (what === "hover" || what === "pin" ? drawAbove() : draw()));
  window.addEventListener("resize", draw);
  draw();
  return { place: (i) => [screenX(i), screenY(i)] };
}

function tracePoint(context, marker, x, y, size) {
  if (marker === "square") context.rect(x - size, y - size, 2 * size, 2 * size);
  else if (marker === "diamond") traceCorners(context, [[x, y - size * 1.3], [x + size * 1.3, y], [x, y + size * 1.3], [x - size * 1.3, y]]);
  else if (marker === "triangle") traceCorners(context, [[x, y - size * 1.2], [x + size * 1.2, y + size], [x - size * 1.2, y + size]]);
  else context.arc(x, y, size, 0, 2 * Math.PI);
}

function traceCorners(context, corners) {
  corners.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.closePath();
}

// Even-odd rule.
export function insidePolygon(corners, x, y) {
  let inside = false;
  for (let i = 0, j = corners.length - 1; i < corners.length; j = i++) {
    const [ax, ay] = corners[i], [bx, by] = corners[j];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
  }
  return inside;
}
