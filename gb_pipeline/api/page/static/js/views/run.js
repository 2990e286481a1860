// One run: its curves, and a snapshot of all that went in and came out, and of where it was computed.

import { lines } from "../chart.js";
import { empty, h, when } from "../dom.js";
import { number } from "../format.js";
import { link } from "../place.js";
import { get } from "../server.js";
import { facts, table } from "../table.js";

const PANELS = [["metrics", "Metrics"], ["parameters", "Parameters"], ["environment", "Environment"], ["seeds", "Seeds"], ["timings", "Timings, in seconds"], ["notes", "Notes"]];

export function run({ parts, signal, server }) {
  const [strategy = "", version = "", id = ""] = parts;
  const name = parts.slice(0, 3).join("/");
  const content = [
    h("p", { class: "path" }, h("a", { href: link("strategies") }, "Strategies"), " / ", h("a", { href: link("strategy", [strategy]) }, strategy), " / ",
      h("a", { href: link("runs", [], { strategy, version }) }, version)),
    h("h1", {}, id, " ", h("span", { class: "unit" }, `${strategy} ${version}`)),
    when(get("run", { run: name }, signal), (data) => [
      server.dagster && data.dagster_run && h("ul", { class: "links" }, h("li", {},
        h("a", { href: `${server.dagster.replace(/\/+$/, "")}/runs/${encodeURIComponent(data.dagster_run)}`, rel: "noreferrer" }, "in Dagster"))),
      facts(data.about),
      data.equity.length ? lines(`Curves of ${name}`, data.equity) : empty("No curve was saved with this run."),
      h("div", { class: "panels" }, PANELS.filter(([kind]) => data[kind].length).map(([kind, title]) => panel(title, data[kind]))),
      data.pins.total > 0 && table("Data that it read, with fingerprints", data.pins),
      data.artifacts.total > 0 && table("Artifacts", data.artifacts),
    ]),
  ];
  return { title: id, content };
}

function panel(title, pairs) {
  const rows = pairs.map(([name, value]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, /^-?\d+(\.\d+)?$/.test(value) ? number(value) : value)));
  return h("div", { class: "tile" }, h("h2", {}, title), h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title }, h("table", {}, h("tbody", {}, rows))));
}
