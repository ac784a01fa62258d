// Shared by all views: data, state in the address, elements, numbers, colours, histograms.
"use strict";

const Report = { rows: [], totals: {}, steps: [], views: {}, codes: {} };

// The data files call these.
function codes(meanings) { Report.codes = meanings; }
function totals(summary) { Report.totals = summary; }
function run(steps) { Report.steps = steps; }
function card() {} // a slide's own file repeats its card, which cards.js has loaded already
function cards(table) {
  Report.rows = table.rows.map((cells) => {
    const row = Object.fromEntries(table.columns.map((name, place) => [name, cells[place]]));
    row.flags = row.flags || [];
    row.medians = row.medians || {};
    return row;
  });
}

// --- state: all of it is in the address, so a page can be reloaded and its address can be shared

Report.read = () => Object.fromEntries(new URLSearchParams(location.hash.slice(1)));

Report.address = (changes) => {
  const state = { ...Report.read(), ...changes };
  const kept = Object.entries(state).filter(([, value]) => value !== "" && value != null);
  return "#" + new URLSearchParams(kept);
};

// A change of a filter or a painting replaces the address. A change of view adds a step to the history.
Report.set = (changes, step = false) => {
  const address = Report.address(changes);
  if (step) location.hash = address;
  else history.replaceState(null, "", address);
};

// --- elements: text becomes text nodes, never markup

Report.el = (name, attributes = {}, ...children) => {
  const spaced = ["svg", "rect", "line", "text", "g", "title", "path"].includes(name);
  const made = spaced && name !== "title"
    ? document.createElementNS("http://www.w3.org/2000/svg", name)
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children.flat().filter((child) => child != null));
  return made;
};

Report.table = (head, rows, caption) => {
  const { el } = Report;
  const cell = (value, kind = "td") =>
    el(kind, { class: typeof value === "number" || isNumber(value) ? "number" : null }, value);
  const isNumber = (value) => typeof value === "string" && /^[\d.,]+( |$)/.test(value);
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    el("table", {},
      el("caption", {}, caption),
      el("thead", {}, el("tr", {}, head.map((text) => el("th", { scope: "col" }, text)))),
      el("tbody", {}, rows.map((row) => el("tr", {}, row.map((value) => cell(value)))))));
};

// --- numbers and names as text

Report.number = (value, digits = 3) => {
  if (value == null || Number.isNaN(value)) return "unknown";
  if (Number.isInteger(value)) return value.toLocaleString("en");
  return Number(value.toPrecision(digits)).toLocaleString("en", { maximumSignificantDigits: digits });
};
Report.words = (code) => code.replaceAll("_", " ");
// A long name may break after its underscores.
Report.breakable = (name) => name.split(/(?<=_)/).flatMap((part) => [part, Report.el("wbr")]);
Report.bytes = (size) => {
  for (const unit of ["bytes", "kB", "MB", "GB"]) {
    if (size < 1000) return `${Report.number(size)} ${unit}`;
    size /= 1000;
  }
  return `${Report.number(size)} TB`;
};
Report.duration = (seconds) => {
  if (seconds < 120) return `${Report.number(seconds, 2)} s`;
  return seconds < 7200 ? `${Report.number(seconds / 60, 2)} min` : `${Report.number(seconds / 3600)} h`;
};

// The address of a file next to the report for links, and its path for code to copy.
Report.link = (folder, name) => `${folder}/${encodeURIComponent(name)}`;
Report.path = (folder, name) => {
  const base = location.protocol === "file:"
    ? decodeURIComponent(location.pathname).replace(/\/report\/[^/]*$/, "").replace(/^\/([A-Za-z]:)/, "$1")
    : "results";
  return `${base}/${folder}/${name}`;
};

// --- colours for every kind of colour vision: viridis for numbers, Okabe and Ito's for labels

const VIRIDIS = ["440154", "481a6c", "472f7d", "414487", "39568c", "31688e", "2a788e", "23888e",
  "1f988b", "22a884", "35b779", "54c568", "7ad151", "a5db36", "d2e21b", "fde725"]
  .map((hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)));

Report.viridis = (share) => {
  const at = Math.min(Math.max(share, 0), 1) * (VIRIDIS.length - 1);
  const low = VIRIDIS[Math.floor(at)], high = VIRIDIS[Math.ceil(at)];
  return `rgb(${low.map((value, i) => Math.round(value + (high[i] - value) * (at % 1)))})`;
};
Report.gradient = () =>
  `linear-gradient(to right, ${VIRIDIS.map((rgb) => `rgb(${rgb})`).join(", ")})`;
Report.labelColours = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#f0e442", "#cc79a7", "#000000"];

// --- a histogram: bars from low to high, and lines with labels

Report.histogram = ({ label, counts, low, high, log = false, marks = [] }) => {
  const { el } = Report;
  const width = 320, height = 120, foot = 20, head = 16;
  const most = Math.max(1, ...counts), step = width / counts.length;
  const place = (value) => ((value - low) / (high - low)) * width;
  const said = (value) => Report.number(log ? 10 ** value : value, 2);
  const middle = (low + high) / 2;
  const bars = counts.map((count, i) => {
    const tall = (count / most) * (height - foot - head);
    const from = said(low + (i * (high - low)) / counts.length);
    return el("rect", { x: i * step + 0.5, y: height - foot - tall, width: Math.max(step - 1, 0.5), height: tall });
  });
  const lines = marks.filter(({ at }) => at >= low && at <= high).map(({ at, text, dashed }) => {
    const x = place(at), end = x > width / 2;
    return el("g", { class: dashed ? "threshold" : "middle" },
      el("line", { x1: x, x2: x, y1: head - 4, y2: height - foot, "stroke-dasharray": dashed ? "4 3" : null }),
      el("text", { x: x + (end ? -4 : 4), y: dashed ? 10 : 22, "text-anchor": end ? "end" : "start" }, text));
  });
  const ticks = [[low, "start"], [middle, "middle"], [high, "end"]].map(([at, anchor]) =>
    el("text", { class: "tick", x: place(at), y: height - 5, "text-anchor": anchor }, said(at)));
  const told = `${label}: from ${said(low)} to ${said(high)}, ${Report.number(counts.reduce((a, b) => a + b, 0))} in all`;
  return el("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": told, class: "histogram" },
    bars, lines, ticks);
};

// --- packed numbers

Report.unpack = async (text) => {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
};
