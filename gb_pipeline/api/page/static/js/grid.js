// A grid that scrolls through any number of rows: only those that are seen are elements, and the server sends windows of them.
// A header sorts: the server does it, for it has the rows. What is asked for is `close`, or `-close` for the largest first.
// Browsers limit an element to some ten million pixels, so beyond that the scroll bar is a scale, and wheel and keys move by rows.

import { empty, h, loading, problem, replace, say } from "./dom.js";
import { cell, number, words } from "./format.js";
import { Pages } from "./pages.js";

const HEIGHT = 30;
const TALLEST = 6_000_000;

export function grid(caption, fetch, { none = "There is nothing.", todo = "", open = null, keys = {}, lines = 16, at = 0, moved = null, sort = "", sorted = null, known = null } = {}) {
  const spacer = h("div", { class: "grid-spacer" });
  const body = h("div", { class: "grid-body", role: "rowgroup" });
  const head = h("div", { class: "grid-head", role: "rowgroup" });
  const inner = h("div", { class: "grid-inner" }, head, body, spacer);
  const view = h("div", { class: "grid", role: "grid", "aria-label": caption, "aria-readonly": "true", tabindex: "-1" }, inner);
  const status = h("p", { class: "quiet", role: "status" });
  const wrong = h("div", {});
  const whole = h("div", { class: "grid-whole" }, loading());
  let first = at, active = { row: at, column: 0 }, headed = 0, scrolled = false, shown = false;
  const pages = new Pages((offset, limit, signal) => fetch(offset, limit, signal, sort), changed);

  const seen = () => Math.min(lines, Math.max(1, pages.total ?? lines));
  const last = () => Math.max(0, (pages.total ?? 0) - seen());
  const height = () => Math.min(TALLEST, Math.max(0, pages.total - seen()) * HEIGHT);

  function changed() {
    if (pages.error && !shown) return replace(whole, problem(pages.error), h("button", { type: "button", onclick: again }, "Try again"));
    if (pages.total === 0) return replace(whole, empty(none, todo));
    if (!shown && pages.columns) start();
    if (shown) draw();
    if (pages.error) replace(wrong, problem(pages.error), h("button", { type: "button", onclick: again }, "Try again"));
    else replace(wrong);
    if (pages.asked.size > 0 && !pages.error) view.setAttribute("aria-busy", "true");
    else view.removeAttribute("aria-busy");
    return undefined;
  }

  function again() {
    replace(shown ? wrong : whole, loading());
    pages.again();
    if (shown) draw();
    else pages.need(first, first + lines);
  }

  function start() {
    shown = true;
    view.setAttribute("aria-rowcount", pages.total + 1);
    view.setAttribute("aria-colcount", pages.columns.length);
    const widths = pages.columns.map((column) => wide(column.name) ?? { time: "11rem", number: "8rem", duration: "6rem" }[column.kind] ?? "8.5rem");
    inner.style.setProperty("--columns", widths.join(" "));
    known?.(pages.columns);
    drawHead();
    view.style.height = `${(seen() + 1) * HEIGHT + 3}px`;
    body.style.height = `${seen() * HEIGHT}px`;
    spacer.style.height = `${height()}px`;
    replace(whole, view, status, wrong);
    first = Math.min(first, last());
    // A scroll bar at the bottom needs room of its own.
    if (view.scrollWidth > view.clientWidth) view.style.height = `${(seen() + 1) * HEIGHT + 18}px`;
    place();
  }

  const wide = (name) => (/^(row|label|reasons|.*_reason)$/.test(name) ? "22rem" : /_(at|known)$/.test(name) ? "14rem" : undefined);

  // One header at a time is a stop of Tab; the arrows lead to the others, and down to the rows.
  function drawHead() {
    const held = head.contains(document.activeElement);
    const stop = Math.max(0, pages.columns.findIndex((column, at) => column.sorts && at >= headed));
    replace(head, h("div", { class: "grid-row", role: "row", "aria-rowindex": "1" }, pages.columns.map((column, at) => {
      const way = sort === column.name ? "ascending" : sort === `-${column.name}` ? "descending" : "none";
      const mark = h("span", { class: "way", "aria-hidden": "true" }, { ascending: "▲", descending: "▼", none: "" }[way]);
      const button = h("button", { type: "button", tabindex: at === stop ? "0" : "-1", onclick: () => order(at) }, words(column.name), mark);
      return h("div", { role: "columnheader", class: column.kind, "aria-colindex": at + 1, "aria-sort": column.sorts ? way : null },
        column.sorts ? button : words(column.name));
    })));
    if (held) head.querySelector("button[tabindex='0']")?.focus({ preventScroll: true });
  }

  // The smallest first, then the largest, then as it was.
  function order(at) {
    const { name } = pages.columns[at];
    sort = sort === name ? `-${name}` : sort === `-${name}` ? "" : name;
    headed = at;
    first = 0;
    active = { row: 0, column: at };
    pages.forget();
    drawHead();
    sorted?.(sort);
    place();
    say(sort ? `Sorted by ${words(name)}, ${sort.startsWith("-") ? "the largest" : "the smallest"} first` : "Sorted as before");
  }

  function toHead(from, step) {
    for (let at = from; at >= 0 && at < pages.columns.length; at += step) {
      if (!pages.columns[at].sorts) continue;
      headed = at;
      drawHead();
      head.querySelector("button[tabindex='0']").focus();
      head.querySelector("button[tabindex='0']").scrollIntoView({ block: "nearest", inline: "nearest" });
      return;
    }
  }

  function draw() {
    const to = Math.min(pages.total, first + seen());
    pages.need(first, to - 1);
    const rows = [];
    for (let index = first; index < to; index += 1) rows.push(line(index));
    const held = body.contains(document.activeElement);
    replace(body, rows);
    if (held) focus();
    const order = sort && `, sorted by ${words(sort.replace(/^-/, ""))}`;
    const wait = pages.row(first) ? "" : sort ? " Sorting…" : " Loading…";
    status.textContent = `Rows ${number(first + 1)} to ${number(to)} of ${number(pages.total)}${order}.${wait}`;
  }

  function line(index) {
    const row = pages.row(index);
    const cells = pages.columns.map((column, at) => {
      const here = index === active.row && at === active.column;
      const text = row ? cell(row[at], column) : at === 0 ? "…" : "";
      return h("div", { role: "gridcell", class: column.kind, tabindex: here ? "0" : "-1", "aria-colindex": at + 1, title: text.length > 16 ? text : null }, text);
    });
    return h("div", { class: "grid-row", role: "row", "aria-rowindex": index + 2, "data-row": index }, cells);
  }

  function focus() {
    body.querySelector("[tabindex='0']")?.focus({ preventScroll: true });
  }

  // Set the scroll bar to the first row, without that scrolling the rows in turn.
  function place() {
    const top = last() ? (first / last()) * height() : 0;
    if (Math.abs(view.scrollTop - top) >= 1) {
      scrolled = true;
      view.scrollTop = top;
    }
    active.row = Math.min(Math.max(active.row, first), first + seen() - 1);
    moved?.(first);
    draw();
  }

  function move(row, column) {
    active = { row: Math.max(0, Math.min(pages.total - 1, row)), column: Math.max(0, Math.min(pages.columns.length - 1, column)) };
    if (active.row < first) first = active.row;
    else if (active.row >= first + seen()) first = active.row - seen() + 1;
    place();
    focus();
    body.querySelector("[tabindex='0']")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  view.addEventListener("scroll", () => {
    if (scrolled) {
      scrolled = false;
      return;
    }
    const next = height() ? Math.round((view.scrollTop / height()) * last()) : 0;
    if (next === first) return;
    first = Math.min(next, last());
    active.row = Math.min(Math.max(active.row, first), first + seen() - 1);
    moved?.(first);
    draw();
  });
  view.addEventListener("wheel", (event) => {
    if (event.ctrlKey || Math.abs(event.deltaX) > Math.abs(event.deltaY) || height() < TALLEST) return;
    event.preventDefault();
    first = Math.max(0, Math.min(last(), first + Math.sign(event.deltaY) * Math.max(1, Math.round(Math.abs(event.deltaY) / HEIGHT))));
    place();
  }, { passive: false });
  head.addEventListener("keydown", (event) => {
    const to = { ArrowLeft: [headed - 1, -1], ArrowRight: [headed + 1, 1], Home: [0, 1], End: [pages.columns.length - 1, -1] }[event.key];
    event.stopPropagation();
    if (to) toHead(...to);
    else if (event.key === "ArrowDown") move(first, headed);
    else return;
    event.preventDefault();
  });
  view.addEventListener("keydown", (event) => {
    const { row, column } = active;
    if (event.key === "ArrowUp" && row === 0) {
      event.preventDefault();
      toHead(column, -1);
      return;
    }
    const far = event.ctrlKey || event.metaKey;
    const moves = {
      ArrowDown: [row + 1, column], ArrowUp: [row - 1, column], ArrowRight: [row, column + 1], ArrowLeft: [row, column - 1],
      PageDown: [row + seen(), column], PageUp: [row - seen(), column],
      Home: far ? [0, 0] : [row, 0], End: far ? [pages.total - 1, pages.columns.length - 1] : [row, pages.columns.length - 1],
    };
    if (moves[event.key]) {
      event.preventDefault();
      move(...moves[event.key]);
    } else if (event.key === "Enter") opened(row);
    else if (Object.hasOwn(keys, event.key) && pages.row(row)) keys[event.key](values(row));
  });
  body.addEventListener("click", (event) => {
    const at = event.target.closest("[data-row]");
    if (!at) return;
    move(Number(at.dataset.row), [...at.children].indexOf(event.target.closest("[role=gridcell]")));
  });
  body.addEventListener("dblclick", () => opened(active.row));

  function opened(index) {
    if (pages.row(index) && open) open(values(index));
  }

  function values(index) {
    const row = pages.row(index);
    return Object.fromEntries(pages.columns.map((column, at) => [column.name, row[at]]));
  }

  pages.need(first, first + lines);
  whole.pages = pages;
  return whole;
}
