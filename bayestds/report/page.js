"use strict";
// Planes of the volumes, drawn from the numbers at the end of the page. Nothing is fetched.
(() => {
  const NONE = 65535;
  const data = JSON.parse(document.getElementById("data").textContent);

  function bytes(text) {
    const raw = atob(text);
    const found = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) found[i] = raw.charCodeAt(i);
    return found.buffer;
  }

  const tables = {};
  for (const [name, text] of Object.entries(data.colours)) tables[name] = new Uint8Array(bytes(text));

  const number = (value, digits) => value.toFixed(digits).replace("-", "\u2212");
  const significant = (value) => {
    const size = Math.abs(value);
    if (size !== 0 && (size < 1e-3 || size >= 1e5)) return value.toExponential(2).replaceAll("-", "\u2212");
    return number(value, size >= 100 ? 1 : size >= 1 ? 2 : 4);
  };
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // Steps of an axis at 1, 2 or 5 times a power of ten.
  function ticks(low, high, most) {
    const raw = (high - low) / most || 1;
    const unit = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].find((m) => m * unit >= raw * 0.999) * unit;
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    const found = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++)
      found.push([i * step, number(i * step + 0, digits)]);
    return found;
  }

  function viewer(box) {
    const volume = data.volumes[Number(box.dataset.volume)];
    const points = volume.wide ? new Uint32Array(bytes(volume.points)) : new Uint16Array(bytes(volume.points));
    const unused = volume.wide ? 4294967295 : 65535;
    const fields = volume.fields.map((field) => ({ ...field, codes: new Uint16Array(bytes(field.codes)) }));
    const lengths = volume.axes.map((axis) => axis.length);
    const step = volume.axes.map((a) => (a.length > 1 ? (a[a.length - 1] - a[0]) / (a.length - 1) : 1));
    const canvases = [...box.querySelectorAll("canvas")];
    const slider = box.querySelector("input[type=range]");
    const label = box.querySelector("output.plane");
    const readout = box.querySelector("output.readout");
    let normal = 2, plane = 0, pointed = null, images = [], width = 0;

    const across = () => [0, 1, 2].filter((axis) => axis !== normal);
    function value(field, place) {
      const point = points[(place[0] * lengths[1] + place[1]) * lengths[2] + place[2]];
      const code = point === unused ? NONE : field.codes[point];
      return code === NONE ? null : field.low + code * field.step;
    }
    function place(i, j) {
      const [a, b] = across();
      const found = [0, 0, 0];
      found[normal] = plane; found[a] = i; found[b] = j;
      return found;
    }

    function image(field) {
      const [a, b] = across();
      const picture = document.createElement("canvas");
      picture.width = lengths[a]; picture.height = lengths[b];
      const context = picture.getContext("2d");
      const pixels = context.createImageData(lengths[a], lengths[b]);
      const colours = tables[field.colours];
      const [low, high] = field.limits;
      for (let j = 0; j < lengths[b]; j++)
        for (let i = 0; i < lengths[a]; i++) {
          const found = value(field, place(i, j));
          if (found === null) continue;
          const share = Math.min(1, Math.max(0, (found - low) / (high - low || 1)));
          const from = 3 * Math.round(255 * share), to = 4 * ((lengths[b] - 1 - j) * lengths[a] + i);
          for (let c = 0; c < 3; c++) pixels.data[to + c] = colours[from + c];
          pixels.data[to + 3] = 255;
        }
      context.putImageData(pixels, 0, 0);
      return picture;
    }

    // Where the plot lies on its canvas, in CSS pixels.
    function layout(canvas) {
      const [a, b] = across();
      const width = canvas.parentElement.clientWidth;
      const plot = { left: 48, top: 8, width: width - 60 };
      const ratio = (lengths[b] * step[b]) / (lengths[a] * step[a]);
      plot.height = plot.width * Math.min(1.6, Math.max(0.2, ratio));
      return { width, height: plot.top + plot.height + 88, plot };
    }
    const ends = (axis) => [volume.axes[axis][0] - step[axis] / 2, volume.axes[axis].at(-1) + step[axis] / 2];

    function draw(canvas, field, picture) {
      const [a, b] = across();
      const { width, height, plot } = layout(canvas);
      const scale = window.devicePixelRatio || 1;
      canvas.width = Math.round(width * scale); canvas.height = Math.round(height * scale);
      canvas.style.height = `${height}px`;
      const pen = canvas.getContext("2d");
      pen.scale(scale, scale);
      pen.font = "12px system-ui, sans-serif";
      pen.fillStyle = style("--missing");
      pen.fillRect(plot.left, plot.top, plot.width, plot.height);
      pen.imageSmoothingEnabled = false;
      pen.drawImage(picture, plot.left, plot.top, plot.width, plot.height);
      pen.strokeStyle = pen.fillStyle = style("--ink");
      pen.strokeRect(plot.left, plot.top, plot.width, plot.height);
      const [x0, x1] = ends(a), [y0, y1] = ends(b);
      const toX = (v) => plot.left + ((v - x0) / (x1 - x0)) * plot.width;
      const toY = (v) => plot.top + plot.height - ((v - y0) / (y1 - y0)) * plot.height;
      pen.textAlign = "center"; pen.textBaseline = "top";
      for (const [v, text] of ticks(x0, x1, Math.max(2, Math.floor(plot.width / 50)))) {
        pen.fillRect(toX(v) - 0.5, plot.top + plot.height, 1, 4);
        pen.fillText(text, toX(v), plot.top + plot.height + 6);
      }
      pen.fillText(`${volume.names[a]} (r.l.u.)`, plot.left + plot.width / 2, plot.top + plot.height + 21);
      pen.textAlign = "right"; pen.textBaseline = "middle";
      for (const [v, text] of ticks(y0, y1, Math.max(2, Math.floor(plot.height / 35)))) {
        pen.fillRect(plot.left - 4, toY(v) - 0.5, 4, 1);
        pen.fillText(text, plot.left - 7, toY(v));
      }
      pen.save();
      pen.translate(9, plot.top + plot.height / 2); pen.rotate(-Math.PI / 2);
      pen.textAlign = "center";
      pen.fillText(`${volume.names[b]} (r.l.u.)`, 0, 0);
      pen.restore();
      bar(pen, field, plot);
      if (pointed) {
        pen.lineWidth = 2;
        pen.strokeStyle = "#fff";
        const x = toX(volume.axes[a][pointed[0]]), y = toY(volume.axes[b][pointed[1]]);
        pen.strokeRect(x - 5, y - 5, 10, 10);
        pen.lineWidth = 1;
        pen.strokeStyle = "#000";
        pen.strokeRect(x - 6.5, y - 6.5, 13, 13);
      }
      const name = `${volume.names[normal]} = ${number(volume.axes[normal][plane], 2)}`;
      canvas.setAttribute("aria-label", `${field.name}: ${field.unit} on the plane ${name}`);
    }

    function bar(pen, field, plot) {
      const top = plot.top + plot.height + 44;
      const colours = tables[field.colours];
      for (let i = 0; i < 256; i++) {
        pen.fillStyle = `rgb(${colours[3 * i]} ${colours[3 * i + 1]} ${colours[3 * i + 2]})`;
        pen.fillRect(plot.left + (i / 256) * plot.width, top, plot.width / 256 + 1, 10);
      }
      pen.fillStyle = style("--ink");
      pen.textBaseline = "top";
      const [low, high] = field.limits;
      pen.textAlign = "left"; pen.fillText(significant(low), plot.left, top + 13);
      pen.textAlign = "right"; pen.fillText(significant(high), plot.left + plot.width, top + 13);
      pen.textAlign = "center";
      pen.fillText(field.unit, plot.left + plot.width / 2, top + 28);
    }

    function show() {
      const at = volume.axes[normal][plane];
      label.textContent = `${volume.names[normal]} = ${number(at, 2)} r.l.u.`;
      slider.setAttribute("aria-valuetext", label.textContent);
      canvases.forEach((canvas, i) => draw(canvas, fields[i], images[i]));
      readout.textContent = pointed ? said() : "Point at a plane to read its values.";
    }

    function move(to) {
      plane = to;
      images = fields.map(image);
      show();
    }

    function said() {
      const at = place(...pointed);
      const where = volume.names.map((name, i) => `${name} = ${number(volume.axes[i][at[i]], 2)}`).join(", ");
      const values = fields.map((field) => [field.name, value(field, at)]);
      if (values.every((one) => one[1] === null)) return `${where}: not used`;
      return `${where}: ${values.map(([name, v]) => `${name} ${v === null ? "\u2013" : significant(v)}`).join(", ")}`;
    }

    function choose(axis) {
      normal = axis; pointed = null;
      slider.max = lengths[axis] - 1;
      slider.disabled = lengths[axis] < 2;
      // Through the origin, or the middle of a volume that begins or ends there.
      const middle = lengths[axis] >> 1;
      const zero = volume.axes[axis].reduce((best, v, i, all) => (Math.abs(v) < Math.abs(all[best]) ? i : best), 0);
      slider.value = zero > 0 && zero < lengths[axis] - 1 ? zero : middle;
      move(Number(slider.value));
    }

    canvases.forEach((canvas) => {
      const point = (event) => {
        const { plot } = layout(canvas);
        const [a, b] = across();
        const edge = canvas.getBoundingClientRect();
        const i = Math.floor(((event.clientX - edge.left - plot.left) / plot.width) * lengths[a]);
        const j = Math.floor((1 - (event.clientY - edge.top - plot.top) / plot.height) * lengths[b]);
        const inside = i >= 0 && j >= 0 && i < lengths[a] && j < lengths[b];
        pointed = inside ? [i, j] : null;
        show();
      };
      canvas.addEventListener("pointermove", point);
      canvas.addEventListener("pointerdown", point);
      canvas.addEventListener("pointerleave", () => { pointed = null; show(); });
    });
    slider.addEventListener("input", () => move(Number(slider.value)));
    box.querySelectorAll("input[type=radio]").forEach((button) =>
      button.addEventListener("change", () => choose(Number(button.value))));
    // Drawing changes the height, which is nothing to draw again for.
    new ResizeObserver(() => { if (box.clientWidth !== width) { width = box.clientWidth; show(); } }).observe(box);
    for (const query of ["(prefers-color-scheme: dark)", "print"])
      window.matchMedia(query).addEventListener("change", show);
    choose(2);
  }

  document.querySelectorAll(".viewer").forEach(viewer);
})();
