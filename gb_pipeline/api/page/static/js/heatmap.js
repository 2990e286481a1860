// The coverage of a source: a row per symbol, a column per session. Drawn on a canvas; arrows move in it, and a line says the cell.

import { empty, h, replace } from "./dom.js";
import { number } from "./format.js";
import { colour, onTheme } from "./theme.js";

const NAMES = ["cell-unknown", "cell-closed", "cell-complete", "cell-explained", "cell-open", "cell-lost"];

export function heatMap(data, open) {
  if (!data.rows.length) return empty("Nothing of this is recorded.", "Fetch it: `gb fetch`, or `gb import` for files.");
  const across = data.sessions.length, down = data.rows.length;
  const high = Math.max(4, Math.min(20, Math.floor(440 / down)));
  const named = high >= 14;
  const canvas = h("canvas", { class: "heat", tabindex: "0", role: "application", "aria-roledescription": "coverage map" });
  const told = h("p", { class: "quiet", role: "status" }, "Move over a cell, or use the arrows; Enter opens the series.");
  const context = canvas.getContext("2d");
  let at = { row: 0, column: across - 1 }, wide = 4, marked = false;

  const kind = ({ row, column }) => Number(data.rows[row][column]);
  const legend = h("ul", { class: "legend" }, data.cells.map((cell, index) =>
    h("li", {}, h("span", { class: `swatch ${NAMES[index]}`, "aria-hidden": "true" }), `${cell.name}: ${number(cell.count)}`)));
  const summary = data.cells.filter((cell) => cell.count).map((cell) => `${number(cell.count)} ${cell.name}`).join(", ");
  canvas.setAttribute("aria-label", `${down} rows of symbols by ${across} columns of sessions from ${data.sessions[0]} on: ${summary}`);

  function draw() {
    const width = canvas.parentElement?.clientWidth || 800;
    wide = Math.max(1, width / across);
    const scale = devicePixelRatio || 1;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(down * high * scale);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${down * high}px`;
    context.scale(scale, scale);
    const colours = NAMES.map(colour);
    for (let row = 0; row < down; row += 1) {
      for (let column = 0, from = 0; column < across; column += 1) {
        // Neighbours of one kind are one rectangle.
        if (column + 1 < across && data.rows[row][column + 1] === data.rows[row][from]) continue;
        context.fillStyle = colours[Number(data.rows[row][from])];
        context.fillRect(from * wide, row * high, (column + 1 - from) * wide - (wide > 5 ? 1 : 0), high - (high > 5 ? 1 : 0));
        from = column + 1;
      }
    }
    if (marked) {
      context.strokeStyle = colour("ink");
      context.lineWidth = 2;
      context.strokeRect(at.column * wide - 1, at.row * high - 1, Math.max(4, wide) + 1, high + 1);
    }
  }

  function mark(row, column) {
    at = { row: Math.max(0, Math.min(down - 1, row)), column: Math.max(0, Math.min(across - 1, column)) };
    marked = true;
    told.textContent = `${data.symbols[at.row]}, ${data.sessions[at.column]}: ${data.cells[kind(at)].name}`;
    draw();
  }

  const under = (event) => [Math.floor(event.offsetY / high), Math.floor(event.offsetX / wide)];
  canvas.addEventListener("mousemove", (event) => mark(...under(event)));
  canvas.addEventListener("click", (event) => (mark(...under(event)), open(data.symbols[at.row], data.sessions[at.column])));
  canvas.addEventListener("keydown", (event) => {
    const moves = {
      ArrowDown: [at.row + 1, at.column], ArrowUp: [at.row - 1, at.column], ArrowRight: [at.row, at.column + 1],
      ArrowLeft: [at.row, at.column - 1], Home: [at.row, 0], End: [at.row, across - 1],
      PageDown: [at.row + 10, at.column], PageUp: [at.row - 10, at.column],
    };
    if (event.key === "Enter") open(data.symbols[at.row], data.sessions[at.column]);
    else if (moves[event.key]) mark(...moves[event.key]);
    else return;
    event.preventDefault();
  });
  const place = h("div", { class: "heat-place" }, canvas);
  const names = named && h("div", { class: "heat-names", "aria-hidden": "true" }, data.symbols.map((symbol) => h("span", {}, symbol)));
  if (names) names.style.setProperty("--high", `${high}px`);
  new ResizeObserver(draw).observe(place);
  onTheme(canvas, draw);
  const ends = h("p", { class: "ends" }, h("span", {}, data.sessions[0]), h("span", {}, data.sessions[across - 1]));
  return replace(h("div", {}), h("div", { class: "heat-whole" }, names, h("div", { class: "heat-right" }, place, ends)), told, legend);
}
