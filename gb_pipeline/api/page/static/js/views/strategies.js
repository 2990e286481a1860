// Strategies, and one of them: its versions, and its runs.

import { h, later, replace, when } from "../dom.js";
import { grid } from "../grid.js";
import { go, link, note, noted } from "../place.js";
import { get } from "../server.js";
import { table } from "../table.js";
import { runsGrid } from "./runs.js";

export function strategies({ query }) {
  const search = h("input", { type: "search", id: "search", value: query.get("search") ?? "", autocomplete: "off", spellcheck: "false" });
  const place = h("div", {});
  const find = () => replace(place, grid("Strategies", (offset, limit, signal, sort) => get("strategies", { search: search.value, offset, limit, sort }, signal), {
    ...noted(),
    none: search.value ? "No strategy has these words." : "No run of a backtest was saved yet.",
    todo: search.value ? "" : "Save one: `results.save_backtest_data(...)`, or use a recorder; docs/results.md says how.",
    open: (row) => go(link("strategy", [row.strategy])),
    lines: 20,
  }));
  search.addEventListener("input", later(() => {
    note({ search: search.value });
    find();
  }));
  find();
  const content = [
    h("div", { class: "row spread" }, h("h1", {}, "Strategies"), h("div", { class: "row" }, h("label", { for: "search" }, "Search"), search)),
    h("p", { class: "quiet" }, "The one that ran last is first. Enter or a double click opens it."),
    place,
  ];
  return { title: "Strategies", content };
}

export function strategy({ parts: [name = ""], signal }) {
  const content = [
    h("p", { class: "path" }, h("a", { href: link("strategies") }, "Strategies")),
    h("h1", {}, name),
    when(get("versions", { strategy: name }, signal), (data) => [
      table("Versions, the newest first", data, { href: (row) => link("runs", [], { strategy: name, version: row.version }) , show: { retired: (row) => row.retired ?? "" } }),
      data.rows.length > 1 && compareVersions(name, data.rows.map((row) => row[0])),
      h("h2", {}, "Runs"),
      runsGrid({ strategy: name }, noted()),
    ]),
  ];
  return { title: name, content };
}

function compareVersions(name, versions) {
  const pick = (id, chosen) => h("select", { id }, versions.map((version) => h("option", { value: version, selected: version === chosen }, version)));
  const [left, right] = [pick("left", versions[1]), pick("right", versions[0])];
  const compare = () => go(link("comparison", [], { left: `${name}/${left.value}`, right: `${name}/${right.value}` }));
  return h("div", { class: "row fields" },
    h("div", { class: "field" }, h("label", { for: "left" }, "compare version"), left),
    h("div", { class: "field" }, h("label", { for: "right" }, "with"), right),
    h("button", { type: "button", onclick: compare }, "Compare their last runs"));
}
