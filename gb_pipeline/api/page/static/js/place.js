// The address holds everything that is shown: `#/series/coinbase/BTC-USD/1m?shown=1h&as_of=2024-01-02T00:00:00Z`.
// It stays behind the `#`, so no server and no log ever sees it.

export function read() {
  const [path, query = ""] = (location.hash.replace(/^#\/?/, "") || "lake").split("?");
  const parts = path.split("/").filter(Boolean).map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  return { name: parts[0] ?? "lake", parts: parts.slice(1), query: new URLSearchParams(query) };
}

export function link(name, parts = [], query = {}) {
  const kept = new URLSearchParams();
  const asOf = read().query.get("as_of");
  if (asOf) kept.set("as_of", asOf);
  for (const [key, value] of Object.entries(query)) {
    if (value === null || value === undefined || value === "") kept.delete(key);
    else kept.set(key, value);
  }
  const path = [name, ...parts].map(encodeURIComponent).join("/");
  return `#/${path}${[...kept].length ? `?${kept}` : ""}`;
}

// Change what is shown without a new entry for Back, and without drawing the page anew.
export function note(query) {
  const here = read();
  for (const [key, value] of Object.entries(query)) {
    if (value === null || value === undefined || value === "") here.query.delete(key);
    else here.query.set(key, value);
  }
  const path = [here.name, ...here.parts].map(encodeURIComponent).join("/");
  history.replaceState(null, "", `#/${path}${[...here.query].length ? `?${here.query}` : ""}`);
}

// The order of a view's grid is in the address too.
export const noted = () => ({ sort: read().query.get("sort") ?? "", sorted: (sort) => note({ sort, row: null }) });

export function go(hash) {
  location.hash = hash;
}

export const asOf = () => read().query.get("as_of");
