// Elements out of values. Whatever comes from the lake becomes text, never markup: nothing here parses HTML.

import { askAgain } from "./server.js";

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked") element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

export function replace(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

export const byId = (id) => document.getElementById(id);

// A sentence for whoever hears the page instead of seeing it.
export function say(text) {
  byId("said").textContent = text;
}

// Commands between backticks, as errors and hints of the project have them.
const prose = (text) => String(text).split("`").map((part, at) => (at % 2 ? h("code", {}, part) : part));

export function problem(error) {
  return h(
    "div",
    { class: "problem", role: "alert" },
    h("p", { class: "what" }, error.what ?? "the page has a mistake"),
    h("p", {}, prose(error.fix ? `To do: ${error.fix}` : error.message ?? "")),
    error.status === 401 && h("p", {}, h("button", { type: "button", onclick: askAgain }, "Give a token")),
  );
}

export const empty = (text, todo) => h("div", { class: "empty" }, h("p", {}, text), todo && h("p", { class: "quiet" }, prose(todo)));

export const loading = (text = "Loading…") => h("p", { class: "quiet loading", role: "status" }, text);

// The element at once, its content when it has come; what fails says so in its place.
export function when(promise, show, wait) {
  const place = h("div", { "aria-busy": "true" }, loading(wait));
  promise.then(show).then(
    (content) => replace(place, content),
    (error) => {
      if (error?.name !== "AbortError") replace(place, problem(error));
      if (!error?.what && error?.name !== "AbortError") console.error(error);
    },
  ).finally(() => place.removeAttribute("aria-busy"));
  return place;
}

export function later(action, milliseconds = 250) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...given), milliseconds);
  };
}
