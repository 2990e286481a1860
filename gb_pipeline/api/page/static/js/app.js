// The frame of the page: which view an address means, the keys, and the moment that everything is shown at.

import { askForToken, showKeys } from "./dialogs.js";
import { byId, h, problem, replace, say } from "./dom.js";
import { time } from "./format.js";
import { go, link, note, read } from "./place.js";
import { get, onTokenNeeded } from "./server.js";
import { startTheme } from "./theme.js";
import { findings } from "./views/findings.js";
import { lake } from "./views/lake.js";
import { series } from "./views/series.js";
import { source } from "./views/source.js";
import { strategies, strategy } from "./views/strategies.js";
import { runs } from "./views/runs.js";
import { run } from "./views/run.js";
import { comparison } from "./views/comparison.js";
import { streams } from "./views/streams.js";
import { bars } from "./views/bars.js";

const VIEWS = {
  lake, source, series, bars, streams, strategies, strategy, runs, run, comparison,
  gaps: (place) => findings("gaps", place),
  restatements: (place) => findings("restatements", place),
  quarantine: (place) => findings("quarantine", place),
  actions: (place) => findings("actions", place),
};
const NAV = [
  ["lake", "Lake", "l"], ["gaps", "Gaps", "g"], ["restatements", "Restatements", "r"], ["quarantine", "Quarantine", "q"],
  ["streams", "Streams", "t"], ["strategies", "Strategies", "s"], ["runs", "Runs", "u"],
];
const PART_OF = { source: "lake", series: "lake", bars: "lake", strategy: "strategies", run: "runs", comparison: "runs" };
export const server = { lake: "", version: "", dagster: null };
let shown = null;

function drawNav(name) {
  const current = PART_OF[name] ?? name;
  replace(byId("nav"), h("ul", {}, NAV.map(([to, text]) =>
    h("li", {}, h("a", { href: link(to), "aria-current": to === current ? "page" : null }, text)))));
  byId("nav").querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
}

function drawMoment(query) {
  const asOf = query.get("as_of");
  byId("as-of").value = asOf ? asOf.replace(/(\.\d+)?Z$/, "") : "";
  byId("now").hidden = !asOf;
  byId("then").hidden = !asOf;
  byId("then").textContent = asOf ? `Shown as it was known at ${time(asOf)} UTC: later corrections are left out.` : "";
}

async function show(focus) {
  const place = read();
  shown?.abort();
  shown = new AbortController();
  const { signal } = shown;
  const view = Object.hasOwn(VIEWS, place.name) ? VIEWS[place.name] : null;
  drawNav(place.name);
  drawMoment(place.query);
  const main = byId("main");
  try {
    if (!view) throw { what: `there is no page ${place.name}`, fix: "choose one above" };
    const { title, content } = view({ ...place, signal, server });
    document.title = `${title} · gb_pipeline`;
    replace(main, content);
    if (focus) {
      main.focus({ preventScroll: true });
      scrollTo(0, 0);
      say(title);
    }
  } catch (error) {
    replace(main, h("h1", {}, "Not shown"), problem(error));
    if (!error.what) console.error(error);
  }
}

function travel(value) {
  note({ as_of: value ? `${value.length === 16 ? `${value}:00` : value}Z` : null });
  show(false);
}

function startKeys() {
  let before = "";
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, dialog")) return;
    const key = event.key;
    const to = before === "g" && NAV.find(([, , letter]) => letter === key);
    before = key;
    if (to) go(link(to[0]));
    else if (key === "?") showKeys();
    else if (key === "d") byId("theme").click();
    else if (key === "/" && document.querySelector("main input[type=search]")) document.querySelector("main input[type=search]").focus();
    else return;
    before = "";
    event.preventDefault();
  });
}

async function start() {
  startTheme();
  startKeys();
  onTokenNeeded(askForToken);
  byId("help").addEventListener("click", showKeys);
  byId("moment").addEventListener("submit", (event) => event.preventDefault());
  byId("as-of").addEventListener("change", (event) => travel(event.target.value));
  byId("now").addEventListener("click", () => travel(""));
  addEventListener("hashchange", () => show(true));
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault();
    byId("main").focus();
  });
  try {
    Object.assign(server, await get("about"));
    byId("about").textContent = `${server.lake} · gb_pipeline ${server.version}`;
  } catch (error) {
    byId("about").textContent = "";
    if (!error.what) console.error(error);
  }
  show(false);
}

start();
