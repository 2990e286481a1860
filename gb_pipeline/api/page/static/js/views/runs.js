// Runs by strategy, time, market, parameters and metrics. What is asked is in the address; a name keeps it in this browser.

import { h, later, replace, when } from "../dom.js";
import { grid } from "../grid.js";
import { go, link, note } from "../place.js";
import { resultChart } from "../result_chart.js";
import { get } from "../server.js";

const FIELDS = [
  ["strategy", "strategy", 14], ["version", "version", 8], ["market", "market", 8], ["tag", "tag", 8], ["start", "began from", 16],
  ["end", "before", 12], ["parameters", "parameters, such as window = 20; fast < 10", 24], ["metrics", "metrics, such as sharpe > 1", 18],
];
const TIMES = ["started_at", "finished_at", "known_at"];
// What the chart shows and how rows are sorted belongs to a query too.
const LOOKS = ["sort", "chart", "time", "values"];
const KEY = "gb-queries";

const saved = () => {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    return {};
  }
};

export function runs({ query, signal }) {
  const asked = Object.fromEntries(FIELDS.map(([name]) => [name, query.get(name) ?? ""]));
  const looks = Object.fromEntries(LOOKS.map((name) => [name, query.get(name) ?? ""]));
  const look = (changed) => {
    Object.assign(looks, changed);
    note(changed);
  };
  const chart = h("div", {});
  const drawChart = (columns) => replace(chart, resultChart({
    chosen: looks, times: TIMES, columns, changed: look, fetch: (chosen) => get("curves", { ...asked, time: chosen.time, values: chosen.values }, signal),
  }));
  const place = h("div", {});
  const plan = h("div", {});
  const draw = () => {
    replace(chart);
    replace(place, runsGrid(asked, { sort: looks.sort, sorted: (sort) => look({ sort }), known: drawChart }));
    replace(plan);
  };
  const inputs = FIELDS.map(([name, text, size]) => {
    const hint = { start: "2024-01-02 or -7d" }[name];
    const input = h("input", { id: name, value: asked[name], size, placeholder: hint, autocomplete: "off", spellcheck: "false" });
    input.addEventListener("input", later(() => {
      asked[name] = input.value.trim();
      note({ [name]: asked[name] });
      draw();
    }, 400));
    return h("div", { class: "field" }, h("label", { for: name }, text), input);
  });
  const explain = () => replace(plan, when(get("plan", asked), (data) => h("pre", { tabindex: "0", "aria-label": "Plan" }, data.plan)));
  draw();
  const content = [
    h("h1", {}, "Runs"),
    savedQueries(() => ({ ...asked, ...looks })),
    h("div", { class: "row fields" }, inputs, h("button", { type: "button", onclick: explain }, "Explain")),
    plan, chart, place,
  ];
  return { title: "Runs", content };
}

function savedQueries(now) {
  const place = h("div", { class: "row" });
  const name = h("input", { id: "query-name", size: 16, autocomplete: "off" });
  const keep = (all) => {
    localStorage.setItem(KEY, JSON.stringify(all));
    draw();
  };
  function draw() {
    const all = saved();
    const links = Object.entries(all).map(([title, query]) => h("li", {},
      h("a", { href: link("runs", [], query) }, title), " ",
      h("button", { type: "button", class: "small", "aria-label": `Forget ${title}`, onclick: () => { delete all[title]; keep(all); } }, "×")));
    replace(place, links.length > 0 && h("ul", { class: "links" }, links));
  }
  draw();
  const add = (event) => {
    event.preventDefault();
    if (name.value.trim()) keep({ ...saved(), [name.value.trim()]: now() });
    name.value = "";
  };
  return h("div", {}, place, h("form", { class: "row", onsubmit: add },
    h("label", { for: "query-name" }, "Save this query as"), name, h("button", {}, "Save"),
    h("span", { class: "quiet" }, "It is kept in this browser; the address can be sent to others.")));
}

export function runsGrid(asked, order) {
  let show = "";
  const left = h("p", { class: "quiet", role: "status" });
  let chosen = null;
  const pick = (row) => {
    const name = `${row.strategy}/${row.version}/${row.run_id}`;
    if (chosen && chosen !== name) return go(link("comparison", [], { left: chosen, right: name }));
    chosen = name;
    left.textContent = `${name} is chosen: press c on another run to compare them.`;
    return undefined;
  };
  const rows = grid("Runs", async (offset, limit, signal, sort) => {
    const answer = await get("runs", { ...asked, show, offset, limit, sort }, signal);
    show ||= answer.show;
    return answer;
  }, {
    ...order,
    none: "No run fulfils all of this.",
    todo: "Leave a field empty to see more; “Explain” says what each condition leaves.",
    open: (row) => go(link("run", [row.strategy, row.version, row.run_id])),
    keys: { c: pick },
    lines: 16,
  });
  return h("div", {}, rows, left, h("p", { class: "quiet" }, "Enter or a double click opens a run; c chooses one to compare."));
}
