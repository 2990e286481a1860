// A chart of what a query finds: numeric columns against a time, as lines or bars. What is chosen is the caller's to keep.

import { lines } from "./chart.js";
import { empty, h, replace, when } from "./dom.js";
import { number, words } from "./format.js";

const KINDS = [["", "no chart"], ["line", "lines"], ["bars", "bars"]];

// `chosen` is `{chart, time, values}`, texts of an address; `changed(chosen)` is called with what a person chooses; `fetch(chosen)`
// gives `{curves, runs, read, points}`.
export function resultChart({ chosen, times, columns, changed, fetch }) {
  const place = h("div", {});
  const values = new Set((chosen.values ?? "").split(",").filter(Boolean));
  const names = [...new Set([...columns.filter((column) => column.kind === "number").map((column) => column.name), ...values])];
  if (!values.size && names.length) values.add(names[0]);
  const kind = select("chart", KINDS, chosen.chart);
  const time = select("chart-time", times.map((name) => [name, words(name)]), chosen.time || times[0]);
  const boxes = names.map((name) => {
    const box = h("input", { type: "checkbox", value: name, checked: values.has(name), onchange: () => {
      if (box.checked) values.add(name);
      else values.delete(name);
      change();
    } });
    return h("label", { class: "choice" }, box, words(name));
  });
  const more = [h("div", { class: "field" }, h("label", { for: "chart-time" }, "against"), time),
    h("fieldset", { class: "choices" }, h("legend", {}, "columns"), boxes)];

  function select(id, choices, value) {
    return h("select", { id, onchange: () => change() }, choices.map(([given, text]) => h("option", { value: given, selected: given === value }, text)));
  }

  const now = () => ({ chart: kind.value, time: time.value, values: names.filter((name) => values.has(name)).join(",") });

  function change() {
    changed(now());
    draw();
  }

  function draw() {
    const asked = now();
    for (const part of more) part.hidden = !asked.chart;
    if (!asked.chart) replace(place);
    else if (!names.length) replace(place, empty("These rows have no numbers to draw.", "Save runs with metrics."));
    else if (!asked.values) replace(place, empty("No column is chosen.", "Tick one above."));
    else replace(place, when(fetch(asked), (data) => drawn(data, asked), "Drawing…"));
  }

  draw();
  return h("div", {}, h("div", { class: "row fields" }, h("div", { class: "field" }, h("label", { for: "chart" }, "chart"), kind), more), place);
}

function drawn(data, asked) {
  if (!data.points) return empty("There is no point to draw.", "Choose another column, or leave a field of the query empty.");
  const curves = data.curves.map((curve) => ({ ...curve, name: words(curve.name) }));
  const label = `${curves.map((curve) => curve.name).join(" and ")} of ${number(data.runs)} runs against ${words(asked.time)}`;
  const left = data.read < data.runs ? ` The newest ${number(data.read)} of them were read.` : "";
  const fewer = data.points < data.read ? ` ${number(data.points)} points stand for ${number(data.read)} runs: of several in the same second, and of those closer than the screen shows, the last.` : "";
  return [
    h("p", { class: "quiet", role: "status" }, `${label[0].toUpperCase()}${label.slice(1)}.${left}${fewer}`),
    lines(`${label}. Arrows move in time, plus and minus zoom; the runs are a grid below.`, curves, { bars: asked.chart === "bars", apart: true }),
  ];
}
