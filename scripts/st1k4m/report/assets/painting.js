// The spots of a slide painted on its tissue, coloured by a number, a label or a gene.
"use strict";

(() => {
  const { el, number } = Report;
  const UNKNOWN = 255; // the level of a mark whose value is unknown
  const KEPT = "#009646", DROPPED = "#d55e00";

  const centres = async (packed) => {
    const bytes = await Report.unpack(packed);
    const values = new Uint16Array(bytes.buffer, 0, bytes.length / 2);
    const count = values.length / 2;
    return { count, x: values.subarray(0, count), y: values.subarray(count) };
  };

  Report.unpackMarks = async (data) => {
    const { marks } = data;
    const [place, levels, dropped, names] = await Promise.all([
      centres(marks.centres), Report.unpack(marks.levels), centres(data.dropped.centres),
      marks.names ? Report.unpack(marks.names) : null]);
    return { place, levels, dropped, names: names && new TextDecoder().decode(names).split("\n") };
  };

  const valueOf = (layer, level) => {
    if (level === UNKNOWN) return null;
    if (layer.kind === "label") return layer.labels[level];
    const value = layer.low + (level / layer.steps) * (layer.high - layer.low);
    return layer.log ? 10 ** value - 1 : value;
  };
  const said = (layer, level) => {
    const value = valueOf(layer, level);
    if (value == null) return layer.kind === "label" ? "no label" : "unknown";
    return typeof value === "string" ? value : number(value);
  };

  Report.painting = (data, packed, state) => {
    const { marks, geometry } = data;
    const { place, levels, dropped, names } = packed;
    const count = marks.count;
    const layers = marks.layers;
    const find = (name) => layers.findIndex((layer) => layer.name === name);
    const view = {
      spots: state.spots !== "off",
      layer: find(state.colour || ""),
      opacity: Number(state.opacity || 0.85),
      zoom: Number(state.zoom || 1),
      label: null,
      mark: -1,
      centre: [place.x, place.y].map((values) => (count ? values.reduce((a, b) => a + b, 0) / count / 65535 : 0.5)),
    };
    const image = el("img", { src: Report.link("tissue", `${data.slide}.jpg`), alt: "The slide's image, reduced" });
    const canvas = el("canvas", { tabindex: 0, role: "img",
      "aria-label": "Spots on the tissue; arrow keys move from spot to spot, the line below gives the values of the spot" });
    const stage = el("div", { class: "stage" }, image, canvas);
    const frame = el("div", { class: "stage-frame" }, stage);
    const told = el("p", { class: "told", "aria-live": "polite" }, "Point at a spot, or use the arrow keys, to read its values.");
    const legend = el("div", { class: "legend" });

    const at = (index) => [(place.x[index] / 65535) * canvas.width, (place.y[index] / 65535) * canvas.height];
    const radius = () => (geometry.radius / geometry.width) * canvas.width * marks.side;
    const levelOf = (layer, mark) => levels[layer * count + mark];

    const colour = (layer, level) => {
      if (level === UNKNOWN) return null;
      return layer.kind === "label"
        ? Report.labelColours[level % Report.labelColours.length]
        : Report.viridis(level / layer.steps);
    };

    const draw = () => {
      const pixels = Math.min(devicePixelRatio || 1, 4096 / Math.max(stage.clientWidth, stage.clientHeight, 1));
      canvas.width = Math.round(stage.clientWidth * pixels);
      canvas.height = Math.round(stage.clientHeight * pixels);
      const pen = canvas.getContext("2d");
      if (!canvas.width || !view.spots) return;
      const r = Math.max(radius(), 0.7);
      const trace = (x, y, size) => {
        pen.beginPath();
        if (marks.square) pen.rect(x - size, y - size, 2 * size, 2 * size);
        else pen.arc(x, y, size, 0, 2 * Math.PI);
      };
      const layer = layers[view.layer];
      const tinted = (marks.square ? 8 : 2.5) * pixels; // outlines of smaller spots would hide the tissue
      pen.lineWidth = Math.max(1, pixels);
      for (let mark = 0; mark < count; mark++) {
        const [x, y] = at(mark);
        const level = layer ? levelOf(view.layer, mark) : UNKNOWN;
        const fill = layer && (view.label == null || view.label === level) ? colour(layer, level) : null;
        trace(x, y, r);
        if (fill) { pen.globalAlpha = view.opacity; pen.fillStyle = fill; pen.fill(); }
        else if (!layer && r < tinted) { pen.globalAlpha = 0.3; pen.fillStyle = KEPT; pen.fill(); }
        else if (!layer || (r > 2 && view.label == null)) {
          pen.globalAlpha = layer ? 0.5 : 1; pen.strokeStyle = KEPT; pen.stroke();
        }
      }
      pen.globalAlpha = 1;
      const arm = Math.max(r * 0.7, 4 * pixels);
      for (const [width, ink] of [[3.5, "#fff"], [1.7, DROPPED]]) {
        pen.lineWidth = width * pixels; pen.strokeStyle = ink;
        pen.beginPath();
        for (let i = 0; i < dropped.count; i++) {
          const x = (dropped.x[i] / 65535) * canvas.width, y = (dropped.y[i] / 65535) * canvas.height;
          pen.moveTo(x - arm, y - arm); pen.lineTo(x + arm, y + arm);
          pen.moveTo(x - arm, y + arm); pen.lineTo(x + arm, y - arm);
        }
        pen.stroke();
      }
      if (view.mark >= 0) {
        const [x, y] = at(view.mark);
        for (const [width, ink] of [[5, "#fff"], [2, "#000"]]) {
          pen.lineWidth = width * pixels; pen.strokeStyle = ink;
          trace(x, y, r + 3 * pixels); pen.stroke();
        }
      }
      if (geometry.um_per_px) drawScale(pen, pixels);
    };

    const drawScale = (pen, pixels) => {
      const micrometres = (geometry.um_per_px * geometry.width) / canvas.width;
      const most = (canvas.width * micrometres) / 5;
      const power = 10 ** Math.floor(Math.log10(most));
      const length = power * Math.max(...[1, 2, 5].filter((step) => step * power <= most));
      const text = length >= 1000 ? `${length / 1000} mm` : `${length} µm`;
      const y = canvas.height - 12 * pixels, x = 12 * pixels;
      pen.font = `${13 * pixels}px sans-serif`;
      for (const [width, ink] of [[6, "#fff"], [2.5, "#111"]]) {
        pen.lineWidth = width * pixels; pen.strokeStyle = ink;
        pen.beginPath(); pen.moveTo(x, y); pen.lineTo(x + length / micrometres, y); pen.stroke();
      }
      pen.lineWidth = 3 * pixels; pen.strokeStyle = "#fff"; pen.strokeText(text, x, y - 7 * pixels);
      pen.fillStyle = "#111"; pen.fillText(text, x, y - 7 * pixels);
    };

    const showLegend = () => {
      const layer = layers[view.layer];
      if (!layer) {
        const parts = [el("span", { class: "ring" }), marks.side > 1 ? " squares of bins in the AnnData" : " spots in the AnnData"];
        legend.replaceChildren(el("span", {}, parts),
          dropped.count ? el("span", {}, el("b", { class: "cross" }, "✕"), " dropped spots") : "");
      } else if (layer.kind === "label") {
        legend.replaceChildren(...layer.labels.map((label, code) => {
          const swatch = el("span", { class: "swatch" });
          swatch.style.background = Report.labelColours[code % Report.labelColours.length];
          return el("button", { type: "button", "aria-pressed": String(view.label === code), onclick: () => {
            view.label = view.label === code ? null : code;
            showLegend(); draw();
          } }, swatch, label);
        }), el("span", {}, "Choose a label to see only its spots."));
      } else {
        const bar = el("span", { class: "bar" });
        bar.style.background = Report.gradient();
        const unit = layer.kind === "gene" ? " (log1p of normalised counts)" : "";
        legend.replaceChildren(number(valueOf(layer, 0)), bar, number(valueOf(layer, layer.steps)),
          ` ${layer.label}${unit}${layer.log ? ", logarithmic" : ""}${marks.side > 1 ? ", means" : ""}`);
      }
    };

    const tell = (mark) => {
      if (mark < 0 || mark === view.mark) return;
      view.mark = mark;
      const facts = layers.map((layer, i) => [layer, i])
        .filter(([layer, i]) => layer.kind !== "gene" || i === view.layer)
        .map(([layer, i]) => `${layer.label}: ${said(layer, levelOf(i, mark))}`);
      told.textContent = [names ? names[mark] : `square of up to ${marks.side} × ${marks.side} bins`, ...facts].join(" · ");
      draw();
    };

    const nearest = (x, y, allowed = () => true) => {
      let best = -1, least = Infinity;
      for (let mark = 0; mark < count; mark++) {
        const [markX, markY] = at(mark);
        const far = (markX - x) ** 2 + (markY - y) ** 2;
        if (far < least && allowed(markX - x, markY - y)) { least = far; best = mark; }
      }
      return [best, Math.sqrt(least)];
    };
    const point = (event) => {
      const box = canvas.getBoundingClientRect();
      const factor = canvas.width / box.width;
      const [mark, far] = nearest((event.clientX - box.left) * factor, (event.clientY - box.top) * factor);
      if (far < Math.max(radius() * 1.5, 12)) tell(mark);
    };
    canvas.addEventListener("pointermove", point);
    canvas.addEventListener("pointerdown", point);
    canvas.addEventListener("keydown", (event) => {
      const ways = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
      const way = ways[event.key];
      if (!way || !count) return;
      event.preventDefault();
      event.stopPropagation();
      if (view.mark < 0) { tell(0); return; }
      // The nearest within 45 degrees of the arrow's direction.
      const [x, y] = at(view.mark);
      const ahead = (dx, dy) => {
        const along = dx * way[0] + dy * way[1], aside = Math.abs(dx * way[1] + dy * way[0]);
        return along > 0 && aside <= along;
      };
      tell(nearest(x, y, ahead)[0]);
    });

    // At zoom "whole", the image is neither wider nor higher than the window.
    const size = () => {
      const whole = Math.min(frame.clientWidth - 2, 0.78 * innerHeight * (geometry.width / geometry.height));
      stage.style.width = `${whole * view.zoom}px`;
      frame.scrollLeft = view.centre[0] * stage.clientWidth - frame.clientWidth / 2;
      frame.scrollTop = view.centre[1] * stage.clientHeight - frame.clientHeight / 2;
      draw();
    };
    // Zooming keeps the centre of the visible part; at first this is the centre of the spots.
    frame.addEventListener("scrollend", () => {
      view.centre = [(frame.scrollLeft + frame.clientWidth / 2) / stage.clientWidth,
        (frame.scrollTop + frame.clientHeight / 2) / stage.clientHeight];
    });
    const watcher = new ResizeObserver(size);
    watcher.observe(frame);
    image.addEventListener("load", size); // before, the stage does not have the height of the picture

    // --- its controls

    const option = (layer) => el("option", { value: layer.name, selected: layer === layers[view.layer] }, layer.label);
    const genes = layers.filter((layer) => layer.kind === "gene");
    const choose = el("select", { id: "colour", onchange: (event) => {
      view.layer = find(event.target.value);
      view.label = null;
      Report.set({ colour: event.target.value });
      showLegend(); draw();
    } },
    el("option", { value: "" }, "outlines only"),
    el("optgroup", { label: "Spots" }, layers.filter((layer) => layer.kind !== "gene").map(option)),
    el("optgroup", { label: `Variable genes by rank (${genes.length})` }, genes.map(option)));
    const toggle = el("input", { type: "checkbox", id: "spots", checked: view.spots, onchange: (event) => {
      view.spots = event.target.checked;
      Report.set({ spots: view.spots ? "" : "off" });
      draw();
    } });
    const fade = el("input", { type: "range", id: "opacity", min: 0.1, max: 1, step: 0.05, value: view.opacity,
      oninput: (event) => {
        view.opacity = Number(event.target.value);
        Report.set({ opacity: event.target.value });
        draw();
      } });
    const zoom = el("select", { id: "zoom", onchange: (event) => {
      view.zoom = Number(event.target.value);
      Report.set({ zoom: view.zoom === 1 ? "" : view.zoom });
      size();
    } }, [1, 2, 4, 8].map((factor) => el("option", { value: factor, selected: factor === view.zoom }, factor === 1 ? "whole" : `${factor} ×`)));
    const controls = el("div", { class: "controls" },
      el("label", { class: "check" }, toggle, el("span", {}, "Spots")),
      el("label", { class: "wide" }, el("span", {}, "Colour by"), choose),
      el("label", {}, el("span", {}, "Opacity"), fade),
      el("label", {}, el("span", {}, "Zoom"), zoom));
    const notes = [];
    if (marks.side > 1) {
      notes.push(`${number(data.spots.kept)} bins are painted as ${number(count)} squares of up to `
        + `${marks.side} × ${marks.side} bins; colours are means over a square.`);
    }
    if (data.dropped.every > 1) notes.push(`Of ${number(data.dropped.count)} dropped spots, one in ${data.dropped.every} is painted.`);
    showLegend();
    size();
    return {
      made: el("section", { class: "painting", "aria-label": "Spots on the tissue" },
        controls, legend, frame, told, notes.map((note) => el("p", { class: "note" }, note))),
      stop: () => watcher.disconnect(),
    };
  };
})();
