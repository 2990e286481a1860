// The two dialogs: which keys there are, and which token the server wants.

import { byId, h, replace } from "./dom.js";
import { keepToken } from "./server.js";

export const KEYS = [
  ["g then l", "Lake"], ["g then g", "Gaps"], ["g then r", "Restatements"], ["g then q", "Quarantine"],
  ["g then t", "Streams"], ["g then s", "Strategies"], ["g then u", "Runs"], ["/", "Search"], ["d", "Theme: system, dark, light"], ["?", "These keys"],
  ["Arrows, Page Up, Page Down, Home, End", "Move in a grid, in a coverage map, and in time on a chart"],
  ["Ctrl + Home, Ctrl + End", "The first and the last cell of a grid"], ["Up, from the first row of a grid", "Its headers: arrows lead to the others, Enter sorts"], ["+ and −", "Zoom a chart"], ["Enter", "Open the row or the cell"],
];

export function showKeys() {
  const dialog = byId("dialog");
  const rows = KEYS.map(([keys, what]) => h("tr", {}, h("th", { scope: "row" }, h("kbd", {}, keys)), h("td", {}, what)));
  replace(
    dialog,
    h("h2", { id: "dialog-title" }, "Keys"),
    h("table", { class: "plain" }, h("tbody", {}, rows)),
    h("form", { method: "dialog" }, h("button", { autofocus: true }, "Close")),
  );
  dialog.showModal();
}

let asking = null;

// Resolves to true once a token was given, to false where it was left out. Several questions at once share one dialog.
export function askForToken(refused) {
  asking ??= new Promise((resolve) => {
    const dialog = byId("dialog");
    const input = h("input", { id: "token", type: "password", autocomplete: "off", required: true, spellcheck: "false" });
    const form = h(
      "form",
      { method: "dialog", class: "stack" },
      h("label", { for: "token" }, "Token"),
      input,
      h("p", { class: "quiet" }, "It is kept until this tab is closed, and sent in a header, never in an address."),
      h("div", { class: "row" }, h("button", { value: "given" }, "Go on"), h("button", { value: "", formnovalidate: true }, "Leave it")),
    );
    replace(
      dialog,
      h("h2", { id: "dialog-title" }, refused ? "The server refused this token" : "The server wants a token"),
      h("p", {}, "Make one that may read: ", h("code", {}, "gb token create NAME --scope read"), "."),
      form,
    );
    dialog.addEventListener("close", () => {
      asking = null;
      const given = dialog.returnValue === "given" ? input.value.trim() : "";
      keepToken(given);
      resolve(Boolean(given));
    }, { once: true });
    dialog.returnValue = "";
    dialog.showModal();
    input.focus();
  });
  return asking;
}
