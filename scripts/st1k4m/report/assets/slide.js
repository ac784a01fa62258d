// The page of a slide: painting, quality, ledger, tiles, parameters, files.
"use strict";

(() => {
  const { el, number, words } = Report;
  // A slide's data file calls page(), which keeps the data.
  const loaded = new Map();
  globalThis.page = (data) => { loaded.set(data.slide, data); };

  const load = (slide) => new Promise((resolve, reject) => {
    if (loaded.has(slide)) { resolve(loaded.get(slide)); return; }
    const script = el("script", { src: Report.link("slides", `${slide}.js`) });
    script.onload = () => { script.remove(); resolve(loaded.get(slide)); };
    script.onerror = () => { script.remove(); reject(new Error("its data file cannot be loaded")); };
    document.head.append(script);
  });

  const quality = (data) => el("section", {},
    el("h2", {}, "Quality of the spots in the AnnData"),
    el("div", { class: "plots" }, data.histograms.map((one) => {
      const onAxis = (value) => (one.log ? Math.log10(value) : value);
      const marks = [];
      if (one.median != null && (!one.log || one.median > 0)) {
        marks.push({ at: onAxis(one.median), text: `median ${number(one.median)}` });
      }
      if (one.threshold != null && (!one.log || one.threshold > 0)) {
        marks.push({ at: onAxis(one.threshold), text: `${one.option} ${one.threshold}`, dashed: true });
      }
      const facts = [one.median == null ? "no value known" : `median ${number(one.median)}`,
        `${one.option}: ${one.threshold == null ? "no limit" : one.threshold}`];
      if (one.zeros) facts.push(`${number(one.zeros)} spots with 0, not drawn`);
      if (one.unknown) facts.push(`${number(one.unknown)} spots unknown`);
      const drawn = one.counts.some(Boolean) ? Report.histogram({ ...one, marks }) : el("p", {}, "nothing to draw");
      return el("figure", {}, el("figcaption", {}, one.label), drawn, el("p", { class: "note" }, facts.join("; ")));
    })));

  const ledger = (data) => {
    const { spots } = data;
    const rows = [["in the count file", spots.in_counts], ["in the coordinate file", spots.in_coord],
      ["in the AnnData", spots.kept],
      ...Object.entries(spots.dropped).map(([reason, count]) => [el("span", {}, `dropped: ${words(reason)} `,
        el("span", { class: "note" }, Report.codes.reasons[reason])), count]),
      ["in either file", spots.total]];
    return el("section", {}, el("h2", {}, "Ledger"),
      Report.table(["Spots", "Number"], rows.map(([text, count]) => [text, number(count)]), "Every spot of both files, once"));
  };

  const tiles = (data) => {
    const rows = data.sheet.tiles;
    const own = data.tiles.pixels;
    const facts = rows.length
      ? `Rows ${rows.join(", ")} of ${number(data.tiles.tiles)} tiles of ${data.tiles.patch_size_target} px; the squares are `
        + `${data.tiles.patch_size_src} px of the image.${own ? "" : " Cut from the reduced picture: the store has no pixels."}`
      : "The slide has no tiles.";
    return el("section", {}, el("h2", {}, "Sample tiles"),
      rows.length ? el("img", { class: "sheet", src: Report.link("tiles", `${data.slide}.jpg`), loading: "lazy",
        alt: `${rows.length} tiles spread over the slide` }) : null,
      el("p", { class: "note" }, facts));
  };

  const files = (data, row) => {
    const { slide } = data;
    const quoted = (folder, name) => JSON.stringify(Report.path(folder, name));
    const read = `sc.read_h5ad(${quoted("anndata", `${slide}.h5ad`)})`;
    const code = ["import scanpy as sc",
      data.spots.kept ? `sc.pl.spatial(${read}, color="total_counts")` : `adata = ${read}  # no spot is left`];
    const pixels = ["import h5py",
      `tiles = h5py.File(${quoted("tiles", `${slide}.h5`)})["img"]  # (spots, height, width, RGB)`];
    const link = (folder, name, text) => el("li", {}, el("a", { href: `../${Report.link(folder, name)}` }, text));
    return el("section", {}, el("h2", {}, "Files"),
      el("ul", {}, link("anndata", `${slide}.h5ad`, "AnnData"), link("tiles", `${slide}.h5`, "Tile store"),
        link("ledger", `${slide}.parquet`, "Ledger of spots"), link("records", `${slide}.json`, "Record"),
        link("overlay", `${slide}.jpg`, "Picture of the spots on the tissue")),
      el("h3", {}, "Open it"),
      el("pre", { id: "code", tabindex: 0 }, code.join("\n")),
      data.tiles.pixels ? el("pre", { id: "code-tiles", tabindex: 0 }, pixels.join("\n")) : null,
      el("p", { class: "note" }, `This slide takes ${Report.bytes(row.bytes)} of the report.`));
  };

  const flat = (value, prefix = "") => Object.entries(value).flatMap(([key, inner]) => {
    const name = prefix ? `${prefix}.${key}` : key;
    if (Array.isArray(inner)) return [[name, inner.map(String).join(", ") || "none"]];
    if (inner !== null && typeof inner === "object") return flat(inner, name);
    return [[name, inner === null ? "none" : String(inner)]];
  });
  const details = (title, value) => el("details", {}, el("summary", {}, title),
    Report.table(["Name", "Value"], flat(value), title));

  const head = (row, data) => {
    const told = [row.tech, row.tissue, row.species].filter(Boolean).join(" · ");
    const facts = data ? [`${number(row.spots)} spots`, `${number(row.genes)} genes`,
      row.um_per_px == null ? "µm per pixel unknown" : `${number(row.um_per_px)} µm per pixel (${row.tier})`,
      `image ${data.geometry.width} × ${data.geometry.height} px, ${data.geometry.image_format}`] : [];
    return el("div", {}, el("h1", { tabindex: -1 }, Report.breakable(row.slide)), el("p", { class: "kind" }, told),
      facts.length ? el("p", {}, facts.join("; ")) : null,
      data && data.study.title ? el("p", { class: "title" }, data.study.title, row.pmid ? ` (PMID ${row.pmid})` : "") : null,
      row.flags.length ? Report.flags(row) : null,
      data && data.warnings.length
        ? el("ul", { class: "warnings", "aria-label": "Warnings" }, data.warnings.map((text) => el("li", {}, text))) : null);
  };

  const placement = ({ placement: { rivals, ...found } }) => ({ ...found, ...Object.fromEntries(rivals.map((one) =>
    [`rival: ${one.correction}`, `likeness ${one.likeness}, ${number(100 * one.on_tissue, 2)} % on tissue`])) });

  // The overlay shows the spots as they are and, on the right, the placement that fits better.
  const rival = (data) => (data.placement && data.placement.believed
    ? [el("section", { class: "rival" }, el("h2", {}, "Another placement fits the tissue better"),
      el("img", { class: "sheet", src: `../${Report.link("overlay", `${data.slide}.jpg`)}`, loading: "lazy",
        alt: `The spots as they are, and after: ${data.placement.believed.correction}` }),
      el("p", { class: "note" }, `As they are, ${number(100 * data.placement.on_tissue, 2)} % of the spots lie on tissue. `
        + "The warning above has the row for the overrides table."))]
    : []);

  const failure = (row) => el("section", { class: "failure" },
    el("p", { class: "status" }, Report.statusWords[row.status], row.stage ? ` at ${row.stage}` : ""),
    el("p", {}, row.reason), row.hint ? el("p", {}, `What to do: ${row.hint}`) : null,
    row.stage ? el("p", {}, el("a", { href: `../../logs/${Report.link(row.stage, `${row.slide}.log`)}` }, "Log of the job")) : null);

  // Links to the previous and next slide in the gallery's order; the keys p and n follow them.
  const steps = (state) => {
    const rows = Report.chosen(state);
    const here = rows.findIndex((row) => row.slide === state.slide);
    const to = (row, text) => (row ? el("a", { href: Report.address({ slide: row.slide }), class: "step" }, text) : el("span", { class: "step" }, text));
    const links = [to(here > 0 ? rows[here - 1] : null, "← previous (p)"), to(here >= 0 ? rows[here + 1] : null, "next (n) →")];
    const key = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT)$/.test(event.target.tagName)) return;
      const link = { p: links[0], n: links[1] }[event.key];
      if (link && link.href) link.click();
    };
    addEventListener("keydown", key);
    const bar = el("nav", { class: "steps", "aria-label": "Slides" },
      el("a", { id: "back", href: Report.address({ view: "gallery", slide: "" }) }, "↑ all slides"), links,
      here >= 0 ? el("span", {}, `${number(here + 1)} of ${number(rows.length)}`) : null);
    return [bar, () => removeEventListener("keydown", key)];
  };

  Report.views.slide = (main, state) => {
    const row = Report.rows.find((one) => one.slide === state.slide);
    document.title = state.slide || "Slide";
    const [bar, stopKeys] = steps(state);
    let stop = () => {}, gone = false;
    const end = () => { gone = true; stopKeys(); stop(); };
    if (!row) {
      main.replaceChildren(bar, el("h1", { tabindex: -1 }, state.slide || ""), el("p", {}, "The run has no slide with this name."));
      return end;
    }
    main.replaceChildren(bar, head(row, null), row.status === "done" ? el("p", {}, "Loading …") : failure(row));
    main.querySelector("h1").focus({ preventScroll: true });
    scrollTo(0, 0);
    if (row.status !== "done") return end;
    load(row.slide).then(async (data) => {
      const packed = await Report.unpackMarks(data);
      if (gone) return;
      const painted = Report.painting(data, packed, Report.read());
      stop = painted.stop;
      main.replaceChildren(bar, head(row, data), ...rival(data), painted.made, quality(data),
        el("div", { class: "columns" }, ledger(data), files(data, row)), tiles(data),
        el("section", {}, el("h2", {}, "How it was made"),
          details("Geometry", data.geometry),
          data.placement ? details("Placement on the tissue", placement(data)) : null, details("Expression", data.expression),
          details("Tiles", data.tiles), details("Parameters", data.parameters), details("Versions", data.versions)));
      main.querySelector("h1").focus({ preventScroll: true });
    }).catch((error) => {
      if (!gone) main.append(el("p", { class: "failure" }, `This slide cannot be shown: ${error.message}`));
    });
    return end;
  };
})();
