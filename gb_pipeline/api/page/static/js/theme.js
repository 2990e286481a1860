// Light, dark, or as the system has it; the choice is kept in this browser.

import { byId } from "./dom.js";

const KEY = "gb-theme";
const ORDER = ["system", "dark", "light"];
const watchers = new Set();

export function startTheme() {
  const button = byId("theme");
  let chosen = localStorage.getItem(KEY) ?? "system";
  if (!ORDER.includes(chosen)) chosen = "system";
  const apply = () => {
    if (chosen === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = chosen;
    button.textContent = `Theme: ${chosen}`;
    for (const watcher of watchers) watcher();
  };
  button.addEventListener("click", () => {
    chosen = ORDER[(ORDER.indexOf(chosen) + 1) % ORDER.length];
    localStorage.setItem(KEY, chosen);
    apply();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", apply);
  apply();
}

// Called when colours change, until the element is gone from the page.
export function onTheme(element, action) {
  const watcher = () => {
    if (element.isConnected) action();
    else watchers.delete(watcher);
  };
  watchers.add(watcher);
}

// What a colour of page.css is now, as canvases need it.
export function colour(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}
