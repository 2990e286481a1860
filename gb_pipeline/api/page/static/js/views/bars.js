// Every bar of a source or of one series, as a grid: ten million rows scroll like ten.

import { h, later } from "../dom.js";
import { grid } from "../grid.js";
import { go, link, note, noted } from "../place.js";
import { get } from "../server.js";

export function bars({ parts: [source = "", resolution = "", symbol = ""], query }) {
  const asked = { source, resolution, symbol, as_of: query.get("as_of") };
  const keep = later((first) => note({ row: first || null }), 300);
  const rows = grid(`Bars of ${symbol || source}`, (offset, limit, signal, sort) => get("rows", { ...asked, offset, limit, sort }, signal), {
    ...noted(),
    none: "No bar is stored.",
    todo: "Look at the gaps, which say why.",
    open: (row) => go(link("series", [source, row.symbol, resolution], { at: row.timestamp })),
    lines: 22,
    at: Math.max(0, Number.parseInt(query.get("row") ?? "0", 10) || 0),
    moved: keep,
  });
  const content = [
    h("p", { class: "path" }, h("a", { href: link("lake") }, "Lake"), " / ", h("a", { href: link("source", [source, resolution]) }, `${source} ${resolution}`)),
    h("h1", {}, `Bars of ${symbol || source} ${resolution}`),
    h("p", { class: "quiet" }, "By symbol and time, unless a header sorts them. Enter or a double click opens the chart at the row."),
    rows,
  ];
  return { title: `Bars of ${symbol || source}`, content };
}
