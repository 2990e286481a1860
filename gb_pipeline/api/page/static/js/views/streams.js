// What collectors hear: up to when it is committed, how continuously, and what nothing covers.

import { empty, h, when } from "../dom.js";
import { link } from "../place.js";
import { get } from "../server.js";
import { table } from "../table.js";

export function streams({ signal }) {
  const content = [
    h("h1", {}, "Streams"),
    h("p", { class: "quiet" }, "Trades, quotes and order books, as collectors heard them."),
    when(get("streams", {}, signal), (data) => {
      if (!data.data.total && !data.watermarks.total) return empty("No collector has written anything.", "Name feeds under `collect:` in gb.yaml, then run `gb collect`.");
      return [
        table("Watermarks: everything before is committed", data.watermarks),
        table("How continuously each stream was heard", data.statistics),
        data.gaps.total ? table("Holes that nothing covers, the newest", data.gaps) : empty("No hole is open."),
        table("What is stored", data.data),
      ];
    }),
    h("p", {}, h("a", { href: link("lake") }, "Bars are on the first page")),
  ];
  return { title: "Streams", content };
}
