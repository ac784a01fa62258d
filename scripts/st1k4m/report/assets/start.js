// Shows the view that the address names, and updates it when the address changes.
"use strict";

(() => {
  let leave = () => {};

  Report.show = () => {
    const state = Report.read();
    const view = Report.views[state.view] ? state.view : "gallery";
    leave();
    leave = Report.views[view](document.getElementById("main"), state);
    for (const name of ["gallery", "collection", "dataset"]) {
      const link = document.getElementById(`to-${name}`);
      if (name === view) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  };

  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault(); // the address has the state, so it cannot have an anchor
    document.getElementById("main").focus();
  });
  document.getElementById("dataset-name").textContent = Report.totals.dataset || "Slides";
  history.scrollRestoration = "manual";
  addEventListener("hashchange", Report.show);
  Report.show();
})();
