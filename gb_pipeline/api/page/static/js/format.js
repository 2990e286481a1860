// Numbers and times as a quant reads them: grouped digits, UTC, no digit lost.

const MINUS = /^-/;

export function number(value) {
  if (value === null || value === undefined || value === "") return "";
  // Exact numbers come as text; of a float more than seven digits say nothing.
  if (typeof value === "number" && !Number.isInteger(value)) return number(String(Number(value.toPrecision(7))));
  const [whole, rest] = String(value).split(".");
  if (!/^-?\d+$/.test(whole)) return String(value);
  const grouped = whole.replace(MINUS, "").replace(/\B(?=(\d{3})+$)/g, ",");
  return `${whole.startsWith("-") ? "−" : ""}${grouped}${rest ? `.${rest}` : ""}`;
}

export function short(value) {
  if (value === null || value === undefined) return "";
  const size = Math.abs(value);
  for (const [unit, name] of [[1e12, "T"], [1e9, "B"], [1e6, "M"]]) if (size >= unit) return `${(value / unit).toFixed(2)} ${name}`;
  return number(value);
}

export function bytes(value) {
  if (value === null || value === undefined) return "";
  for (const [unit, name] of [[2 ** 40, "TiB"], [2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]])
    if (value >= unit) return `${(value / unit).toFixed(1)} ${name}`;
  return `${value} B`;
}

export function percent(value, digits = 2) {
  return value === null || value === undefined ? "" : `${(100 * value).toFixed(digits).replace(MINUS, "−")} %`;
}

// 2024-01-02T00:00:00.000000Z as 2024-01-02 where it is midnight, else with the time; a fraction only where there is one.
export function time(value) {
  if (!value) return "";
  const match = /^(\d{4,}-\d\d-\d\d)(?:T(\d\d:\d\d)(?::(\d\d))?(?:\.(\d+))?Z?)?$/.exec(value);
  if (!match) return String(value);
  const [, day, minute, second = "00", fraction = ""] = match;
  const rest = fraction.replace(/0+$/, "");
  if (!minute || (minute === "00:00" && second === "00" && !rest)) return day;
  return `${day} ${minute}${second !== "00" || rest ? `:${second}` : ""}${rest ? `.${rest}` : ""}`;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  for (const [unit, name] of [[86400, "d"], [3600, "h"], [60, "min"]])
    if (Math.abs(seconds) >= unit) return `${(seconds / unit).toFixed(1).replace(/\.0$/, "")} ${name}`;
  return `${seconds} s`;
}

export function cell(value, column) {
  if (value === null || value === undefined) return "";
  if (column.name === "bytes") return bytes(value);
  if (column.name.startsWith("relative_")) return percent(value, 3);
  // Nobody asks for the microsecond of the last update.
  if (column.name === "updated_at") return time(value.replace(/\.\d+/, ""));
  if (column.kind === "time") return time(value);
  if (column.kind === "duration") return duration(value);
  if (column.kind === "number") return number(value);
  return String(value);
}

export const words = (name) => name.replace(/^metrics\./, "").replaceAll("_", " ");
