// The page of the dataset and the run: declared and found totals, charts, failures, time and memory.
"use strict";

(() => {
  const { el, number, words } = Report;

  const overview = ({ declared, selected, found }) => {
    const distinct = (part, key) => Object.keys(part[key]).length;
    const rows = [["Slides", (part) => part.slides], ["Pairs of tile and expression", (part) => part.pairs],
      ["Technologies", (part) => distinct(part, "tech")], ["Species", (part) => distinct(part, "species")],
      ["Tissues", (part) => distinct(part, "tissue")]];
    return Report.table(["", "declared", "selected", "built"],
      rows.map(([name, value]) => [name, ...[declared, selected, found].map((part) => number(value(part)))]),
      "Totals");
  };

  // A bar of slides and a bar of pairs for each value; a value links to its slides.
  const bars = (title, key, part) => {
    const values = Object.entries(part[key]).sort(([, a], [, b]) => b.slides - a.slides || b.pairs - a.pairs);
    const most = { slides: 1, pairs: 1 };
    for (const [, value] of values) {
      for (const kind of ["slides", "pairs"]) most[kind] = Math.max(most[kind], value[kind]);
    }
    const bar = (kind, value) => {
      const drawn = el("span", { class: `bar ${kind}` });
      drawn.style.width = `${(value[kind] / most[kind]) * 100}%`;
      return el("td", {}, el("span", { class: "length" }, drawn), el("span", { class: "said" }, number(value[kind])));
    };
    return el("section", {}, el("h2", {}, title), el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": title },
      el("table", { class: "bars" },
        el("thead", {}, el("tr", {}, ["", "slides", "pairs"].map((text) => el("th", { scope: "col" }, text)))),
        el("tbody", {}, values.map(([name, value]) => el("tr", {},
          el("th", { scope: "row" }, el("a", { href: `#${new URLSearchParams({ view: "gallery", [key]: name })}` }, name || "not stated")),
          bar("slides", value), bar("pairs", value)))))));
  };

  const distribution = (label, values, log) => {
    const known = values.filter((value) => value != null && (!log || value > 0)).map((value) => (log ? Math.log10(value) : value));
    const figure = el("figure", {}, el("figcaption", {}, label));
    if (!known.length) { figure.append(el("p", {}, "nothing to draw")); return figure; }
    let low = Math.min(...known), high = Math.max(...known);
    if (high - low < 1e-9) { low -= Math.abs(low) / 2 || 0.5; high += Math.abs(high) / 2 || 0.5; }
    const counts = new Array(30).fill(0);
    for (const value of known) counts[Math.min(29, Math.floor(((value - low) / (high - low)) * 30))] += 1;
    const middle = [...known].sort((a, b) => a - b)[Math.floor(known.length / 2)];
    const marks = [{ at: middle, text: `median ${number(log ? 10 ** middle : middle)}` }];
    const unknown = values.filter((value) => value == null).length;
    figure.append(Report.histogram({ label, counts, low, high, log, marks }),
      el("p", { class: "note" }, `${number(known.length)} slides${unknown ? `; ${number(unknown)} unknown` : ""}`));
    return figure;
  };

  const failures = () => {
    const rows = Report.rows.filter((row) => row.status === "failed" || row.status === "excluded");
    if (!rows.length) return el("p", {}, "No slide failed, and none was excluded.");
    return Report.table(["Slide", "Status", "Stage", "Reason", "What to do"], rows.map((row) => [
      el("a", { href: Report.address({ view: "slide", slide: row.slide }) }, row.slide),
      words(row.status), row.stage, row.reason, row.hint]), "Slides that are not built");
  };

  const time = () => {
    if (!Report.steps.length) return el("p", {}, "No log of a finished job was found.");
    const named = (value, slide) => [value, " ", el("span", { class: "note" }, slide)];
    return Report.table(["Step", "Jobs", "Total time", "Median", "Longest", "Most memory"],
      Report.steps.map((step) => [step.step, number(step.jobs), Report.duration(step.seconds), Report.duration(step.median),
        el("span", {}, named(Report.duration(step.longest[0]), step.longest[1])),
        el("span", {}, named(`${number(step.largest[0])} MB`, step.largest[1]))]), "Time and memory by step, from the logs");
  };

  Report.views.dataset = (main) => {
    const { totals, rows } = Report;
    document.title = `Dataset: ${totals.dataset}`;
    const done = rows.filter((row) => row.status === "done");
    const size = done.reduce((sum, row) => sum + row.bytes, 0);
    const states = Object.entries(totals.states).map(([state, count]) => `${number(count)} ${words(state)}`).join(", ");
    const part = done.length ? totals.found : totals.declared;
    const which = done.length ? "" : " (declared)";
    main.replaceChildren(
      el("h1", { tabindex: -1 }, "Dataset and run"),
      el("p", {}, totals.dataset, totals.revision ? ` at ${totals.revision}` : ""),
      el("p", { id: "states" }, `Slides: ${states}.`),
      el("p", {}, "As files: ", el("a", { href: "../manifest.tsv" }, "manifest.tsv"), " (one row per slide), ",
        el("a", { href: "../summary.json" }, "summary.json"), " (these totals), ",
        el("a", { href: "../citations.bib" }, "citations.bib"), " (the studies)."),
      overview(totals),
      el("h2", {}, "Not built"), failures(),
      el("h2", {}, "Slides that are built"),
      el("div", { class: "plots" },
        distribution("Spots per slide", done.map((row) => row.spots), true),
        distribution("Genes per slide", done.map((row) => row.genes), true),
        distribution("µm per pixel", done.map((row) => row.um_per_px), false),
        distribution("Median counts per spot", done.map((row) => row.medians.total_counts), true)),
      bars(`By technology${which}`, "tech", part), bars(`By species${which}`, "species", part), bars(`By tissue${which}`, "tissue", part),
      el("h2", {}, "Time and memory"), time(),
      el("p", { class: "note" }, done.length
        ? `Pictures and data of this report: ${Report.bytes(size)}, ${Report.bytes(size / done.length)} per slide.` : ""));
    scrollTo(0, 0);
    return () => {};
  };
})();
