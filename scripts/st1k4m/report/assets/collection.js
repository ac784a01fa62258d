// The page of the collection: related slides, splits, panels, slides of other collections.
"use strict";

// The data file calls this. After a failed run there may be no data file.
function collection(data) { Report.collection = data; }

(() => {
  const { el, number, words } = Report;
  const BATCH = 40; // groups drawn at once

  const link = (slide) =>
    el("a", { href: Report.address({ view: "slide", slide }) }, Report.breakable(slide));

  const thumbnail = (slide) => {
    const row = Report.rows.find((one) => one.slide === slide);
    const picture = row && row.picture
      ? el("img", { src: Report.link("thumbs", `${slide}.jpg`), alt: "", loading: "lazy",
        width: row.picture[0], height: row.picture[1] })
      : null;
    return el("li", {}, picture, link(slide));
  };

  const group = (one) => el("details", { open: one.closest === "same_section" },
    el("summary", {}, `${number(one.slides.length)} slides, ${words(one.closest)}: ${one.slides[0]}`),
    el("ul", { class: "side-by-side" }, one.slides.map(thumbnail)),
    Report.table(["Slide", "Slide", "Relation", "Confidence", "Evidence"],
      one.links.map(([a, b, relation, confidence, evidence]) =>
        [link(a), link(b), words(relation), confidence, evidence]), "Evidence for these relations"),
    one.more ? el("p", { class: "note" }, `and ${number(one.more)} more pairs, in relations.tsv`) : null);

  const groups = (all) => {
    if (!all.length) return el("p", {}, "No slides are known to be of the same section, block or patient.");
    const list = el("div");
    let shown = 0;
    const more = el("button", { type: "button", onclick: () => show() }, "Show more");
    const show = () => {
      list.append(...all.slice(shown, shown + BATCH).map(group));
      shown += BATCH;
      more.hidden = shown >= all.length;
    };
    show();
    return el("div", {}, list, more);
  };

  const counts = (values) => Object.entries(values).sort(([, a], [, b]) => b - a)
    .map(([name, count]) => `${name || "not stated"} ${number(count)}`).join(", ");

  const split = (one) => el("section", {}, el("h3", {}, one.name),
    one.head.filter((line) => !line.startsWith("options:")).map((line) => el("p", { class: "note" }, line)),
    Report.table(["Part", "Slides", "Spots", "Studies", "Technologies", "Species", "Tissues"],
      one.parts.map((part) => [part.part, number(part.slides), number(part.spots), number(part.studies),
        counts(part.tech), counts(part.species), counts(part.tissue)]), `Parts of the split ${one.name}`));

  const panel = (one) => el("section", {}, el("h3", {}, `${one.name}: ${number(one.genes.length)} genes`),
    one.head.map((line) => el("p", { class: "note" }, line)),
    el("details", {}, el("summary", {}, "Genes, with the number of slides that print each"),
      el("p", {}, one.genes.map(([gene, slides]) => (slides ? `${gene} (${slides})` : gene)).join(", "))));

  const alsoIn = (rows) => (rows.length
    ? el("details", {}, el("summary", {}, `${number(new Set(rows.map(([slide]) => slide)).size)} slides are in other collections too`),
      Report.table(["Slide", "In the other collection", "Confidence", "Evidence"],
        rows.map(([slide, there, ...rest]) => [link(slide), there, ...rest]), "Slides of other collections"))
    : el("p", {}, "No slide is known to be in another collection."));

  Report.views.collection = (main) => {
    const data = Report.collection;
    document.title = "Collection";
    main.replaceChildren(el("h1", { tabindex: -1 }, "Collection"));
    if (!data) {
      main.append(el("p", {}, "The tables of the collection do not exist yet. They are made when all selected slides are done."));
      return () => {};
    }
    main.append(
      el("p", {}, "As files: ", el("a", { href: "../collection/slides.tsv" }, "slides.tsv"), ", ",
        el("a", { href: "../collection/relations.tsv" }, "relations.tsv"), ", ",
        el("a", { href: "../collection/genes.tsv" }, "genes.tsv"), "."),
      el("h2", {}, "Related slides"), groups(data.groups),
      el("h2", {}, "Splits"), ...(data.splits.length ? data.splits.map(split) : [el("p", {}, "No split is configured.")]),
      el("h2", {}, "Panels"), ...(data.panels.length ? data.panels.map(panel) : [el("p", {}, "No panel is configured.")]),
      el("h2", {}, "In other collections"), alsoIn(data.also_in));
    scrollTo(0, 0);
    return () => {};
  };
})();
