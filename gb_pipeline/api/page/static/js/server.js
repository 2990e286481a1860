// Questions to the server. A token stays in this tab's session storage and travels in a header, never in an address.

const TOKEN = "gb-token";
let askForToken = null, declined = false;

export class Refused extends Error {
  constructor(status, what, fix) {
    super(what);
    this.status = status;
    this.what = what;
    this.fix = fix;
  }
}

export function onTokenNeeded(ask) {
  askForToken = ask;
}

// Whoever left it is not asked by each view again, but by the button of what it says then.
export function askAgain() {
  declined = false;
  dispatchEvent(new HashChangeEvent("hashchange"));
}

export function keepToken(token) {
  if (token) sessionStorage.setItem(TOKEN, token);
  else sessionStorage.removeItem(TOKEN);
}

export const hasToken = () => Boolean(sessionStorage.getItem(TOKEN));

export async function get(path, query = {}, signal = undefined) {
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== null && value !== undefined && value !== "") given.set(name, value);
  const address = `../v1/page/${path}${[...given].length ? `?${given}` : ""}`;
  for (;;) {
    const token = sessionStorage.getItem(TOKEN);
    let response;
    try {
      response = await fetch(address, { signal, headers: token ? { authorization: `Bearer ${token}` } : {}, credentials: "omit" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refused(0, "the server does not answer", "see whether `gb serve` is running, then reload");
    }
    if (response.status === 401 && askForToken && !declined) {
      // Another question may have been given one meanwhile.
      if (sessionStorage.getItem(TOKEN) !== token || (await askForToken(Boolean(token)))) continue;
      declined = true;
    }
    const body = await response.json().catch(() => null);
    if (response.ok && body !== null) return body;
    throw new Refused(response.status, body?.detail ?? body?.title ?? `the server answered ${response.status}`, body?.fix ?? "");
  }
}

// Rows as objects, for the small tables that are shown whole.
export function objects(table) {
  return table.rows.map((row) => Object.fromEntries(table.columns.map((column, at) => [column.name, row[at]])));
}
