// The gallery: one card per slide; filters, search and order.
"use strict";

(() => {
  const { el, number, words } = Report;
  const BATCH = 60; // cards made at once; more are made when the end of the page comes near

  const FILTERS = [
    ["status", "Status", (row) => [row.status]],
    ["tech", "Technology", (row) => [row.tech]],
    ["species", "Species", (row) => [row.species]],
    ["tissue", "Tissue", (row) => [row.tissue]],
    ["tier", "Resolution", (row) => (row.tier ? [row.tier] : [])],
    ["flag", "Flag", (row) => row.flags],
  ];
  const ATTENTION = { failed: 1e6, done: 0, excluded: -1, not_selected: -2 };
  // Only failures and slides without spots come before slides whose spots seem misplaced.
  const suspicion = (row) => ["misplaced", "off_tissue", "orientation_unsure", "correction_proposed"]
    .reduce((sum, flag, place) => sum + (row.flags.includes(flag) ? 400 >> place : 0), 0);
  const ORDERS = {
    attention: ["needs attention", (row) => -(ATTENTION[row.status] + (row.spots === 0 ? 1000 : 0) + suspicion(row) + row.flags.length)],
    slide: ["name", (row) => row.slide.toLowerCase()],
    spots: ["spots", (row) => row.spots],
    dropped: ["dropped spots", (row) => row.dropped],
    genes: ["genes", (row) => row.genes],
    um_per_px: ["µm per pixel", (row) => row.um_per_px],
    total_counts: ["counts per spot", (row) => row.medians.total_counts],
    n_genes_by_counts: ["genes per spot", (row) => row.medians.n_genes_by_counts],
    pct_counts_mt: ["mitochondrial %", (row) => row.medians.pct_counts_mt],
    tissue_share: ["tissue in the squares", (row) => row.medians.tissue_share],
    declared: ["spots declared", (row) => row.declared],
  };
  const STATUS = { done: "✓ done", failed: "✕ failed", excluded: "– excluded", not_selected: "– not selected" };

  // Excluded and not selected slides are hidden unless a status is chosen.
  const asked = (row, state) => state.status || row.status === "done" || row.status === "failed";

  Report.chosen = (state) => {
    const sought = (state.q || "").toLowerCase().split(/\s+/).filter(Boolean);
    const text = (row) => `${row.slide} ${row.tissue} ${row.species} ${row.pmid}`.toLowerCase();
    const rows = Report.rows.filter((row) => asked(row, state)
      && FILTERS.every(([key, , values]) => !state[key] || values(row).includes(state[key]))
      && sought.every((word) => text(row).includes(word)));
    const [, value] = ORDERS[state.sort] || ORDERS.attention;
    const sign = state.order === "down" ? -1 : 1;
    const compare = (a, b) => {
      const [left, right] = [value(a), value(b)];
      if (left == null || right == null) return (left == null) - (right == null);
      if (left !== right) return (left < right ? -1 : 1) * sign;
      return a.slide < b.slide ? -1 : 1;
    };
    return rows.sort(compare);
  };

  const controls = (state, refresh) => {
    const change = (key) => (event) => { Report.set({ [key]: event.target.value }); refresh(); };
    const select = (key, label, options) =>
      el("label", {}, el("span", {}, label), el("select", { id: `filter-${key}`, onchange: change(key) },
        options.map(([value, text]) =>
          el("option", { value, selected: (state[key] || "") === value }, text))));
    const filters = FILTERS.map(([key, label, values]) => {
      const counts = new Map();
      for (const row of Report.rows) {
        if (key !== "status" && !asked(row, {})) continue;
        for (const value of values(row)) counts.set(value, (counts.get(value) || 0) + 1);
      }
      const found = [...counts].sort(([a], [b]) => (a < b ? -1 : 1));
      const any = key === "status" ? "done or failed" : "all";
      const named = found.map(([value, count]) =>
        [value, `${value ? words(value) : "not stated"} (${number(count)})`]);
      return select(key, label, [["", any], ...named.filter(([value]) => value)]);
    });
    const orders = Object.entries(ORDERS).map(([key, [text]]) => [key === "attention" ? "" : key, text]);
    // On a narrow screen the filters are closed at first; on a wide screen they are open.
    const wide = matchMedia("(min-width: 601px)").matches;
    return el("form", { role: "search", onsubmit: (event) => event.preventDefault() },
      el("div", { class: "controls" }, el("label", { class: "wide" }, el("span", {}, "Search"), el("input", {
        id: "search", type: "search", value: state.q || "", oninput: change("q"),
        placeholder: "name, tissue, species, PMID",
      }))),
      el("details", { class: "filters", open: wide || [...FILTERS, ["sort"]].some(([key]) => state[key]) },
        el("summary", {}, "Filter and sort"),
        el("div", { class: "controls" }, filters, select("sort", "Sort by", orders),
          select("order", "Order", [["", "smallest first"], ["down", "largest first"]]),
          el("button", { type: "button", id: "clear", onclick: () => {
            history.replaceState(null, "", "#view=gallery");
            Report.show();
          } }, "Clear"))));
  };

  const PLACED = { fits: "fits the tissue", alike: "fits, others fit too", misplaced: "looks wrong", unknown: "unknown" };
  const placed = (placement) => {
    if (!placement) return "unknown";
    if (placement.on_tissue == null) return PLACED.unknown;
    return `${PLACED[placement.verdict]} (${number(100 * placement.on_tissue, 2)} % on tissue)`;
  };
  const figures = (row) => {
    const { total_counts: counts, n_genes_by_counts: genes, pct_counts_mt: mito } = row.medians;
    const facts = [
      ["spots", number(row.spots) + (row.dropped ? ` (${number(row.dropped)} dropped)` : "")],
      ["genes", number(row.genes)],
      ["µm/px", row.um_per_px == null ? "unknown" : `${number(row.um_per_px)} (${row.tier})`],
      ["per spot", counts == null ? "no counts" : `${number(counts)} counts, ${number(genes)} genes`],
      ["placement", placed(row.placement)],
      ["mito", mito == null ? "unknown" : `${number(mito, 2)} %`],
    ];
    return el("dl", {}, facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
  };

  Report.flags = (row) => el("ul", { class: "flags", "aria-label": "Flags" },
    row.flags.map((flag) => el("li", { title: Report.codes.flags[flag] }, `⚑ ${words(flag)}`)));

  const makeCard = (row) => {
    const picture = row.picture
      ? el("img", { src: Report.link("thumbs", `${row.slide}.jpg`), alt: "", loading: "lazy",
        decoding: "async", width: row.picture[0], height: row.picture[1] })
      : el("span", { class: "nothing" }, "no picture");
    return el("li", { class: `card ${row.status}` },
      el("a", { href: Report.address({ view: "slide", slide: row.slide }) },
        el("span", { class: "frame" }, picture),
        el("span", { class: "name" }, Report.breakable(row.slide))),
      el("p", { class: "kind" }, [row.tech, row.tissue, row.species].filter(Boolean).join(" · ")),
      row.status === "done" ? figures(row) : el("p", { class: "status" }, STATUS[row.status]),
      row.status === "done" ? null
        : el("p", { class: "reason" }, row.stage ? `${words(row.stage)}: ${row.reason}` : row.reason),
      row.flags.length ? Report.flags(row) : null);
  };

  Report.statusWords = STATUS;

  Report.views.gallery = (main, state) => {
    const count = el("p", { id: "count", "aria-live": "polite" });
    const list = el("ul", { id: "cards" });
    const end = el("div", { class: "end" });
    let rows = [], shown = 0;
    const more = () => {
      list.append(...rows.slice(shown, shown + BATCH).map(makeCard));
      shown = Math.min(shown + BATCH, rows.length);
    };
    const watcher = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) {
        more();
        watcher.unobserve(end); // observe again, because the end may still be visible
        if (shown < rows.length) watcher.observe(end);
      }
    }, { rootMargin: "1500px" });
    const refresh = () => {
      rows = Report.chosen(Report.read());
      shown = 0;
      list.replaceChildren();
      const all = Report.rows.length;
      count.textContent = `${number(rows.length)} of ${number(all)} slides`;
      more();
      watcher.unobserve(end);
      watcher.observe(end);
    };
    document.title = `Slides: ${Report.totals.dataset}`;
    main.replaceChildren(el("h1", { class: "quiet" }, "Slides"), controls(state, refresh), count, list, end);
    refresh();
    // After coming back from a slide, show as many cards as before, at the same position.
    const { top = 0, cards: before = 0 } = Report.place || {};
    while (shown < Math.min(before, rows.length)) more();
    scrollTo(0, top);
    return () => { Report.place = { top: scrollY, cards: shown }; watcher.disconnect(); };
  };
})();
