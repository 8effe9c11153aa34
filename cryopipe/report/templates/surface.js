// Isosurface of an average by ray casting on the processor: rotated with the pointer or the arrow keys, with a level slider.

import { onFrame, rgb } from "./model.js";
import { typedArray } from "./payload.js";

const PIXELS = 220;

export function makeSurface(canvas, slider, output, description) {
  const field = typedArray(description.volume), size = description.size, centre = (size - 1) / 2;
  const reach = centre - 0.01, context = canvas.getContext("2d"), base = rgb(description.colour);
  let rotation = multiply(aboutX(-0.35), aboutY(0.5)), coarse = false, dragging = null, settle = 0;
  canvas.width = canvas.height = PIXELS;
  slider.value = description.level;

  function sample(x, y, z) { // trilinear; x, y, z inside the field
    const i = x | 0, j = y | 0, k = z | 0, u = x - i, v = y - j, w = z - k, row = size, plane = size * size;
    const at = k * plane + j * row + i;
    const a = field[at] + (field[at + 1] - field[at]) * u;
    const b = field[at + row] + (field[at + row + 1] - field[at + row]) * u;
    const c = field[at + plane] + (field[at + plane + 1] - field[at + plane]) * u;
    const d = field[at + plane + row] + (field[at + plane + row + 1] - field[at + plane + row]) * u;
    const near = a + (b - a) * v, far = c + (d - c) * v;
    return near + (far - near) * w;
  }

  const draw = onFrame(function () {
    const pixels = coarse ? PIXELS / 2 : PIXELS, level = Number(slider.value), m = rotation;
    const image = context.createImageData(pixels, pixels), step = 0.6;
    for (let row = 0; row < pixels; row++) {
      const down = ((row + 0.5) / pixels - 0.5) * 2 * reach;
      for (let column = 0; column < pixels; column++) {
        const right = ((column + 0.5) / pixels - 0.5) * 2 * reach, deep = reach * reach - right * right - down * down;
        if (deep <= 0) continue;
        const start = -Math.sqrt(deep);
        // The map's coordinates of a point (right, down, depth) of the view: transpose of the rotation.
        const x0 = m[0] * right + m[3] * down + centre, y0 = m[1] * right + m[4] * down + centre, z0 = m[2] * right + m[5] * down + centre;
        let before = 0, depth = start;
        for (; depth < -start; depth += step) {
          const value = sample(x0 + m[6] * depth, y0 + m[7] * depth, z0 + m[8] * depth);
          if (value >= level) {
            if (depth > start) depth -= (step * (value - level)) / (value - before || 1);
            paint(image.data, 4 * (row * pixels + column), x0 + m[6] * depth, y0 + m[7] * depth, z0 + m[8] * depth, depth);
            break;
          }
          before = value;
        }
      }
    }
    if (coarse) {
      const small = document.createElement("canvas");
      small.width = small.height = pixels;
      small.getContext("2d").putImageData(image, 0, 0);
      context.clearRect(0, 0, PIXELS, PIXELS);
      context.drawImage(small, 0, 0, PIXELS, PIXELS);
    } else context.putImageData(image, 0, 0);
    canvas.dataset.drawn = "yes";
  });

  function paint(data, at, x, y, z, depth) {
    const inside = (value) => Math.min(size - 1.01, Math.max(0, value)), h = 0.9;
    const slope = [
      sample(inside(x - h), inside(y), inside(z)) - sample(inside(x + h), inside(y), inside(z)),
      sample(inside(x), inside(y - h), inside(z)) - sample(inside(x), inside(y + h), inside(z)),
      sample(inside(x), inside(y), inside(z - h)) - sample(inside(x), inside(y), inside(z + h)),
    ];
    const length = Math.hypot(...slope) || 1, m = rotation;
    const normal = [0, 3, 6].map((k) => (m[k] * slope[0] + m[k + 1] * slope[1] + m[k + 2] * slope[2]) / length);
    const light = Math.max(0, -0.45 * normal[0] - 0.55 * normal[1] - 0.7 * normal[2]);
    const bright = (0.35 + 0.65 * light) * (1 - 0.3 * ((depth + reach) / (2 * reach))), gloss = 60 * light ** 20;
    for (let k = 0; k < 3; k++) data[at + k] = (0.55 * base[k] + 0.45 * 225) * bright + gloss;
    data[at + 3] = 255;
  }

  function rotate(across, down) {
    rotation = multiply(multiply(aboutX(-down), aboutY(across)), rotation);
    draw();
  }

  canvas.addEventListener("pointerdown", function (event) {
    dragging = [event.offsetX, event.offsetY];
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", function (event) {
    if (!dragging) return;
    coarse = true;
    rotate((event.offsetX - dragging[0]) / 90, (event.offsetY - dragging[1]) / 90);
    dragging = [event.offsetX, event.offsetY];
    clearTimeout(settle);
    settle = setTimeout(() => { coarse = false; draw(); }, 150);
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { dragging = null; });
  canvas.addEventListener("keydown", function (event) {
    const step = { ArrowLeft: [-0.25, 0], ArrowRight: [0.25, 0], ArrowUp: [0, -0.25], ArrowDown: [0, 0.25] }[event.key];
    if (!step) return;
    event.preventDefault();
    rotate(...step);
  });
  function say() {
    output.textContent = (description.low + (Number(slider.value) / 255) * (description.high - description.low)).toPrecision(3);
  }
  slider.addEventListener("input", () => { say(); draw(); });
  say();
  draw();
}

function multiply(a, b) {
  return Array.from({ length: 9 }, (_, k) => {
    const row = 3 * Math.floor(k / 3), column = k % 3;
    return a[row] * b[column] + a[row + 1] * b[column + 3] + a[row + 2] * b[column + 6];
  });
}
function aboutX(angle) {
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  return [1, 0, 0, 0, c, -s, 0, s, c];
}
function aboutY(angle) {
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  return [c, 0, s, 0, 1, 0, -s, 0, c];
}
