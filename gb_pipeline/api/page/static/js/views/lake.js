// The first page: what the lake holds, by resolution and by source, and a search for series.

import { empty, h, later, problem, replace, when } from "../dom.js";
import { number, short, time } from "../format.js";
import { link, note } from "../place.js";
import { get, objects } from "../server.js";
import { table } from "../table.js";
import { seriesGrid } from "./source.js";

export function lake({ query, signal }) {
  const search = h("input", { type: "search", id: "search", value: query.get("search") ?? "", placeholder: "btc 1m", autocomplete: "off", spellcheck: "false" });
  const found = h("div", {});
  const find = () => replace(found, seriesGrid({ search: search.value, as_of: query.get("as_of") }, "Series"));
  search.addEventListener("input", later(() => {
    note({ search: search.value });
    find();
  }));
  find();
  const content = [
    h("h1", {}, "Lake"),
    when(get("lake", {}, signal), overview),
    h("section", { "aria-labelledby": "series" },
      h("div", { class: "row spread" }, h("h2", { id: "series" }, "Series"),
        h("div", { class: "row" }, h("label", { for: "search" }, "Search"), search)),
      found),
  ];
  return { title: "Lake", content };
}

function overview(data) {
  const tiles = objects(data.resolutions).map((row) => h(
    "li", { class: "tile" },
    h("p", { class: "big" }, number(row.series ?? "?"), h("span", { class: "unit" }, ` series of ${row.resolution} bars`)),
    h("p", {}, row.sources ?? ""),
    h("p", { class: "quiet" }, `${time(row.first)} to ${time(row.last)}`),
  ));
  const damage = data.damage.map((what) => problem({ what, fix: "run `gb verify`, which says what can be mended" }));
  if (!tiles.length && !damage.length) return empty("Nothing is stored yet.", "Fetch something: `gb fetch`, or try `gb demo`.");
  return [
    ...damage,
    h("ul", { class: "tiles" }, tiles),
    table("Sources", data.sources, {
      href: (row) => link("source", [row.source, row.resolution]),
      show: { bars: (row) => short(row.bars) },
    }),
  ];
}
