"use strict";
(function () {
  const chips = [...document.querySelectorAll(".chip")];
  const looks = new Map(chips.map((chip) => [Number(chip.dataset.cluster), chip.dataset]));
  const hidden = new Set();
  const spots = [...document.querySelectorAll(".spot")];
  for (const spot of spots) spot.style.stroke = (looks.get(Number(spot.dataset.cluster)) || {}).colour || "#8c8c8c";

  const canvas = document.getElementById("scatter");
  const scatter = canvas ? makeScatter(canvas, JSON.parse(document.getElementById("points").textContent)) : null;

  for (const chip of chips) {
    chip.addEventListener("click", function () {
      const cluster = Number(chip.dataset.cluster);
      if (!hidden.delete(cluster)) hidden.add(cluster);
      chip.setAttribute("aria-pressed", String(!hidden.has(cluster)));
      for (const spot of spots) spot.toggleAttribute("hidden", hidden.has(Number(spot.dataset.cluster)));
      for (const card of document.querySelectorAll(".card"))
        card.toggleAttribute("hidden", hidden.has(Number(card.dataset.cluster)));
      if (scatter) scatter.draw();
    });
  }

  function makeScatter(canvas, points) {
    const tip = document.getElementById("tip");
    const context = canvas.getContext("2d");
    const count = points.x.length;
    const low = [Math.min(...ends(points.x)), Math.min(...ends(points.y))];
    const high = [Math.max(...ends(points.x)), Math.max(...ends(points.y))];
    let places = [], chosen = -1;

    // Unassigned particles first, so that they never cover a cluster.
    const order = [...Array(count).keys()].sort((a, b) => (points.cluster[a] > 0) - (points.cluster[b] > 0) || a - b);

    function ends(values) {
      let least = Infinity, most = -Infinity;
      for (const value of values) { if (value < least) least = value; if (value > most) most = value; }
      return [least, most];
    }

    function draw() {
      const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
      canvas.width = width * ratio; canvas.height = height * ratio;
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, width, height);
      const margin = 24;
      const scale = Math.min((width - 2 * margin) / (high[0] - low[0] || 1), (height - 2 * margin) / (high[1] - low[1] || 1));
      const size = Math.max(2, Math.min(5, 90 / Math.sqrt(count)));
      places = points.x.map((x, i) => [
        width / 2 + (x - (low[0] + high[0]) / 2) * scale,
        height / 2 - (points.y[i] - (low[1] + high[1]) / 2) * scale,
      ]);
      for (const i of order) if (!hidden.has(points.cluster[i])) mark(i, size, 0.75);
      if (chosen >= 0 && !hidden.has(points.cluster[chosen])) {
        mark(chosen, size + 2, 1);
        context.strokeStyle = getComputedStyle(canvas).color; context.lineWidth = 2; context.stroke();
      }
    }

    function mark(i, size, opacity) {
      const look = looks.get(points.cluster[i]) || {}, [x, y] = places[i];
      context.globalAlpha = points.cluster[i] > 0 ? opacity : opacity * 0.6;
      context.fillStyle = look.colour || "#8c8c8c";
      context.beginPath();
      if (look.marker === "square") context.rect(x - size, y - size, 2 * size, 2 * size);
      else if (look.marker === "diamond") polygon([[x, y - size * 1.3], [x + size * 1.3, y], [x, y + size * 1.3], [x - size * 1.3, y]]);
      else if (look.marker === "triangle") polygon([[x, y - size * 1.2], [x + size * 1.2, y + size], [x - size * 1.2, y + size]]);
      else context.arc(x, y, size, 0, 2 * Math.PI);
      context.fill();
      context.globalAlpha = 1;
    }

    function polygon(corners) {
      corners.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
      context.closePath();
    }

    function choose(i) {
      if (i === chosen) return;
      chosen = i; draw();
      tip.hidden = i < 0;
      if (i < 0) return;
      const name = points.names[points.cluster[i]];
      const posterior = points.posterior.length ? ", posterior " + points.posterior[i].toFixed(2) : "";
      tip.textContent = points.particle[i] + "\n" + points.tomograms[points.tomogram[i]] + "\n" + name + posterior;
      const [x, y] = places[i];
      tip.style.top = y + 14 + "px";
      tip.style.left = Math.min(x + 14, Math.max(0, canvas.clientWidth - tip.offsetWidth - 4)) + "px";
    }

    canvas.addEventListener("pointermove", function (event) {
      let nearest = -1, least = 144;
      for (let i = 0; i < count; i++) {
        if (hidden.has(points.cluster[i])) continue;
        const distance = (places[i][0] - event.offsetX) ** 2 + (places[i][1] - event.offsetY) ** 2;
        if (distance < least) { least = distance; nearest = i; }
      }
      choose(nearest);
    });
    canvas.addEventListener("pointerleave", () => choose(-1));
    canvas.addEventListener("keydown", function (event) {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step || hidden.size >= looks.size) return;
      event.preventDefault();
      let next = chosen;
      for (let tries = 0; tries < count; tries++) {
        next = (next + step + count) % count;
        if (!hidden.has(points.cluster[next])) { choose(next); return; }
      }
    });
    window.addEventListener("resize", draw);
    draw();
    return { draw };
  }
})();
