// Small tables that are shown whole. `links` makes an address of a row, which its first column then opens.

import { h } from "./dom.js";
import { cell, words } from "./format.js";
import { objects } from "./server.js";

export function table(caption, data, { href, hide = [], show = {} } = {}) {
  const columns = data.columns.filter((column) => !hide.includes(column.name));
  const head = columns.map((column) => h("th", { scope: "col", class: column.kind }, words(column.name)));
  const rows = objects(data).map((row) => h("tr", {}, columns.map((column, at) => {
    const text = show[column.name] ? show[column.name](row) : cell(row[column.name], column);
    const content = at === 0 && href ? h("a", { href: href(row) }, text) : text;
    return at === 0 ? h("th", { scope: "row", class: column.kind }, content) : h("td", { class: column.kind }, content);
  })));
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("caption", {}, caption), h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows)),
  );
}

export function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.filter(([, value]) => value !== "" && value !== null && value !== undefined)
    .map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}
