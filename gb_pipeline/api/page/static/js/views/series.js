// One series: candles with what happened to them, and its facts. Switches for the resolution, the adjustment and the moment.

import { candles } from "../chart.js";
import { empty, h, replace, when } from "../dom.js";
import { number, time } from "../format.js";
import { link, note } from "../place.js";
import { get, objects } from "../server.js";
import { facts, table } from "../table.js";

const ADJUSTMENTS = [["", "as stored"], ["none", "as traded"], ["splits", "splits"], ["splits+dividends", "splits and dividends"]];
const KINDS = [["restatements", "Restatements", "●"], ["gaps", "Gaps", "■"], ["actions", "Corporate actions", "▲"]];

export function series({ parts: [source = "", symbol = "", resolution = ""], query, signal, server }) {
  const of = { source, symbol, resolution, as_of: query.get("as_of") };
  const shown = { shown: query.get("shown") ?? "", adjustment: query.get("adjustment") ?? "", before: endOf(query.get("at")) };
  const chart = h("div", {});
  const below = h("div", {});
  const draw = () => replace(chart, when(get("candles", { ...of, ...shown }, signal), (data) => drawn(data, of, shown, signal, below)));
  const choose = (name, choices) => {
    const select = h("select", { id: name }, choices.map(([value, text]) => h("option", { value, selected: value === shown[name] }, text)));
    select.addEventListener("change", () => {
      shown[name] = select.value;
      note({ [name]: select.value });
      draw();
    });
    return h("div", { class: "field" }, h("label", { for: name }, name === "shown" ? "candles of" : name), select);
  };
  // The chart waits for the facts, so that an unknown series is said once.
  const head = when(get("facts", of, signal), (data) => {
    draw();
    const [row] = objects(data.series);
    const [sum] = objects(data.totals);
    return [
      facts([
        ["bars", number(row?.record_count)], ["first", time(row?.start)], ["last", time(row?.end)], ["sessions", number(sum.sessions)],
        ["missing", number(sum.missing)], ["refused", number(sum.quarantined)], ["withdrawn", number(sum.withdrawn)],
        ["prices", row?.adjustment], ["known at", time(sum.known_at)],
      ]),
      h("div", { class: "row fields" },
        choose("shown", data.shown_as.map((value) => [value === resolution ? "" : value, value])), choose("adjustment", ADJUSTMENTS),
        shown.before && h("button", { type: "button", onclick: () => { shown.before = null; note({ at: null }); draw(); } }, "To the newest bar")),
    ];
  });
  const filter = { source, symbol, resolution };
  const content = [
    h("p", { class: "path" }, h("a", { href: link("lake") }, "Lake"), " / ", h("a", { href: link("source", [source, resolution]) }, `${source} ${resolution}`)),
    h("h1", {}, `${symbol} `, h("span", { class: "unit" }, `${source} ${resolution}`)),
    h("ul", { class: "links" },
      h("li", {}, h("a", { href: link("bars", [source, resolution, symbol]) }, "bars")),
      ["gaps", "restatements", "quarantine"].map((kind) => h("li", {}, h("a", { href: link(kind, [], filter) }, kind))),
      server.dagster && h("li", {}, h("a", { href: dagster(server.dagster, source, symbol, resolution), rel: "noreferrer" }, "in Dagster"))),
    head, chart, below,
  ];
  return { title: `${symbol} ${source} ${resolution}`, content };
}

const dagster = (base, source, symbol, resolution) =>
  `${base.replace(/\/+$/, "")}/assets/${[source, `bars_${resolution}`, symbol].map(encodeURIComponent).join("/")}?view=partitions`;

// A chart that is opened at a session ends some way after it.
function endOf(at) {
  const moment = at ? Date.parse(at.length === 10 ? `${at}T00:00:00Z` : at) : Number.NaN;
  return Number.isNaN(moment) ? null : Math.floor(moment / 1000) + 2 * 86400;
}

function drawn(data, of, shown, signal, below) {
  if (!data.time.length) {
    replace(below);
    return empty("No bar is stored here.", "Look at the gaps, which say why, or take away the moment above.");
  }
  const label = `Candles of ${of.symbol}. Arrows move in time, plus and minus zoom; the bars are a grid under “bars”.`;
  const chart = candles(label, async (before) => {
    const older = await get("candles", { ...of, ...shown, before }, signal);
    if (!older.time.length) return;
    chart.add(older, marks(older));
    for (const [kind] of KINDS) {
      data[kind].rows.unshift(...older[kind].rows);
      data[kind].total += older[kind].total;
    }
    list();
  });
  // The chart knows its width once it is on the page.
  requestAnimationFrame(() => requestAnimationFrame(() => chart.add(data, marks(data), { anew: true })));
  const list = () => happened(data, below);
  list();
  return chart.place;
}

function happened(data, below) {
  replace(below, KINDS.map(([kind, title, sign]) => data[kind].total > 0 && h("details", { open: data[kind].total <= 8 },
    h("summary", {}, `${sign} ${title}: ${number(data[kind].total)}`), table(title, { ...data[kind], rows: data[kind].rows.slice(-200) }))));
  const none = KINDS.filter(([kind]) => !data[kind].total).map(([, title]) => title.toLowerCase());
  if (none.length) below.append(h("p", { class: "quiet" }, `In the time of these candles: no ${none.join(", no ")}.`));
}

const seconds = (moment) => Math.floor(Date.parse(moment.length === 10 ? `${moment}T00:00:00Z` : moment) / 1000);

function marks(data) {
  const restated = objects(data.restatements).map((row) => ({ time: seconds(row.timestamp), position: "aboveBar", shape: "circle", paint: "restated", size: 0.8 }));
  const gaps = objects(data.gaps).filter((row) => row.reason !== "closed" && row.start).map((row) => ({ time: seconds(row.start), position: "belowBar", shape: "square", paint: "gap", size: 0.8 }));
  const actions = objects(data.actions).map((row) => ({
    time: seconds(row.ex_date), position: "belowBar", shape: "arrowUp", paint: "action",
    text: row.kind === "split" ? `${row.split_to}:${row.split_from}` : row.kind === "cash_dividend" ? "D" : row.kind,
  }));
  return [...restated, ...gaps, ...actions];
}
