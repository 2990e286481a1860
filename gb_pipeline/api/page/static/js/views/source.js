// One source: how complete each symbol is in each session, and its series.

import { h, later, replace, when } from "../dom.js";
import { grid } from "../grid.js";
import { heatMap } from "../heatmap.js";
import { go, link, note, noted } from "../place.js";
import { get } from "../server.js";

export function source({ parts: [name = "", resolution = ""], query, signal }) {
  const asked = { source: name, resolution, days: query.get("days"), columns: innerWidth < 600 ? 180 : 730 };
  const days = h("select", { id: "days" }, [["", "all sessions"], ["30", "30 days"], ["90", "90 days"], ["365", "a year"]].map(([value, text]) =>
    h("option", { value, selected: value === (query.get("days") ?? "") }, text)));
  const map = h("div", {});
  const draw = () => replace(map, when(get("coverage", asked, signal), (data) =>
    heatMap(data, (symbol, session) => go(link("series", [name, symbol, resolution], { at: session })))));
  days.addEventListener("change", () => {
    asked.days = days.value;
    note({ days: days.value });
    draw();
  });
  draw();
  const search = h("input", { type: "search", id: "search", autocomplete: "off", spellcheck: "false" });
  const found = h("div", {});
  const find = () => replace(found, seriesGrid({ source: name, resolution, search: search.value, as_of: query.get("as_of") }, `Series of ${name}`));
  search.addEventListener("input", later(find));
  find();
  const content = [
    h("p", { class: "path" }, h("a", { href: link("lake") }, "Lake")),
    h("h1", {}, `${name} ${resolution}`),
    h("ul", { class: "links" }, ["gaps", "restatements", "quarantine", "actions"].map((kind) =>
      h("li", {}, h("a", { href: link(kind, [], { source: name, resolution: kind === "actions" ? null : resolution }) }, kind))),
      h("li", {}, h("a", { href: link("bars", [name, resolution]) }, "all bars"))),
    h("section", { "aria-labelledby": "map" },
      h("div", { class: "row spread" }, h("h2", { id: "map" }, "Coverage by session"), h("div", { class: "row" }, h("label", { for: "days" }, "Show"), days)),
      map),
    h("section", { "aria-labelledby": "series" },
      h("div", { class: "row spread" }, h("h2", { id: "series" }, "Series"), h("div", { class: "row" }, h("label", { for: "search" }, "Search"), search)),
      found),
  ];
  return { title: `${name} ${resolution}`, content };
}

export function seriesGrid(asked, caption) {
  return h("div", {},
    grid(caption, (offset, limit, signal, sort) => get("series", { ...asked, offset, limit, sort }, signal), {
      ...noted(),
      none: asked.search ? "No series has these words." : "No series is stored.",
      todo: asked.search ? "Fewer letters find more; a resolution such as 1m is a word too." : "Fetch some: `gb fetch`, or import files: `gb import`.",
      open: (row) => go(link("series", [row.source, row.symbol, row.resolution])),
      lines: 12,
    }),
    h("p", { class: "quiet" }, "Enter or a double click opens a series."));
}
