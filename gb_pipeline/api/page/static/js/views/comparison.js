// Two runs side by side: what differs in parameters, metrics, data and environment, and both curves.

import { lines } from "../chart.js";
import { empty, h, when } from "../dom.js";
import { time } from "../format.js";
import { link } from "../place.js";
import { get } from "../server.js";
import { table } from "../table.js";

const PARTS = [["metrics", "Metrics that differ"], ["parameters", "Parameters that differ"], ["data", "Data that changed"], ["environment", "Environments that differ"]];

export function comparison({ query, signal }) {
  const [left, right] = [query.get("left") ?? "", query.get("right") ?? ""];
  const content = [
    h("p", { class: "path" }, h("a", { href: link("runs") }, "Runs")),
    h("h1", {}, "Comparison"),
    when(get("comparison", { left, right, all: query.get("all") }, signal), (data) => [
      h("ul", { class: "links" }, ["left", "right"].map((side) => h("li", {}, `${side}: `, h("a", { href: link("run", data[side].split("/")) }, data[side])))),
      data.same ? empty("Both are the same: parameters, metrics, equity and data.")
        : data.first_difference && h("p", {}, `Their curves differ first at ${time(data.first_difference.replace(" ", "T").replace("+00:00", "Z"))}.`),
      data.equity.length ? lines("Curves of both runs", data.equity) : h("p", { class: "quiet" }, "They have no curve in common."),
      PARTS.map(([kind, title]) => (data[kind].total ? table(title, data[kind], { hide: ["same"] }) : h("p", { class: "quiet" }, `${title}: none.`))),
    ]),
  ];
  return { title: "Comparison", content };
}
