// Gaps, restatements, refused rows and corporate actions: the newest first, of everything or of one source or symbol.

import { h, later, replace } from "../dom.js";
import { grid } from "../grid.js";
import { go, link, note, noted } from "../place.js";
import { get } from "../server.js";

const KINDS = {
  gaps: ["Gaps", "Runs of bars that the calendar expects and the lake does not have, each with its reason.", "Nothing is missing."],
  restatements: ["Restatements", "Bars that a vendor changed after they were stored.", "No vendor changed a stored bar."],
  quarantine: ["Quarantine", "Rows that were refused, as they were received.", "No row was refused."],
  actions: ["Corporate actions", "Splits, cash dividends, listings and delistings.", "There are none."],
};
const REASONS = ["", "unknown", "fetch_failed", "vendor_empty", "no_trade", "closed", "not_listed", "removed", "incident"];

export function findings(kind, { query }) {
  const [title, what, none] = KINDS[kind];
  const asked = Object.fromEntries(["source", "symbol", "resolution", "reason"].map((name) => [name, query.get(name) ?? ""]));
  const place = h("div", {});
  const fields = ["source", "symbol", ...(kind === "actions" ? [] : ["resolution"])].map((name) => {
    const input = h("input", { id: name, value: asked[name], autocomplete: "off", spellcheck: "false", size: 12 });
    input.addEventListener("input", later(() => change(name, input.value.trim())));
    return h("div", { class: "field" }, h("label", { for: name }, name), input);
  });
  if (kind === "gaps") {
    const reason = h("select", { id: "reason", onchange: () => change("reason", reason.value) }, REASONS.map((value) =>
      h("option", { value, selected: value === asked.reason }, value || "any")));
    fields.push(h("div", { class: "field" }, h("label", { for: "reason" }, "reason"), reason));
  }
  function change(name, value) {
    asked[name] = value;
    note({ [name]: value });
    draw();
  }
  function draw() {
    const chosen = asked.source || asked.symbol || asked.resolution || asked.reason;
    replace(place, grid(title, (offset, limit, signal, sort) => get(kind, { ...asked, as_of: query.get("as_of"), offset, limit, sort }, signal), {
      ...noted(),
      none: chosen ? "Nothing of this is recorded." : none,
      todo: chosen ? "Leave a field empty to see more." : "",
      open: (row) => row.resolution && go(link("series", [row.source, row.symbol, row.resolution], { at: row.start ?? row.timestamp })),
      lines: 20,
    }));
  }
  draw();
  const content = [h("h1", {}, title), h("p", { class: "quiet" }, what), h("div", { class: "row fields" }, fields), place];
  return { title, content };
}
