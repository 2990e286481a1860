// Rows that a grid has fetched: pages of 200, of which the 40 used last are kept, so that ten million rows take no more memory
// than eight thousand.

export const PAGE = 200;
const KEPT = 40;

export class Pages {
  // `fetch(offset, limit, signal)` gives `{columns, rows, total}`; `changed` is called when rows have come or failed.
  constructor(fetch, changed) {
    this.fetch = fetch;
    this.changed = changed;
    this.kept = new Map();
    this.asked = new Map();
    this.failed = new Set();
    this.total = null;
    this.columns = null;
    this.error = null;
  }

  row(index) {
    const page = this.kept.get(Math.floor(index / PAGE));
    return page ? page[index % PAGE] : undefined;
  }

  // Ask for what is seen; questions for what is not seen any more are given up.
  need(first, last) {
    const from = Math.floor(first / PAGE);
    const to = Math.floor(Math.max(first, last) / PAGE);
    for (const [page, controller] of this.asked) {
      if (page < from || page > to) {
        controller.abort();
        this.asked.delete(page);
      }
    }
    for (let page = from; page <= to; page += 1) {
      const known = this.kept.get(page);
      if (known) {
        this.kept.delete(page);
        this.kept.set(page, known);
      } else if (!this.asked.has(page) && !this.failed.has(page)) {
        this.load(page);
      }
    }
  }

  // What was fetched is in another order now.
  forget() {
    this.stop();
    this.kept.clear();
    this.again();
  }

  // What failed is asked for once more only after this, or a server that is gone would be asked without end.
  again() {
    this.failed.clear();
    this.error = null;
  }

  async load(page) {
    const controller = new AbortController();
    this.asked.set(page, controller);
    try {
      const answer = await this.fetch(page * PAGE, PAGE, controller.signal);
      if (controller.signal.aborted) return;
      this.kept.set(page, answer.rows);
      this.total = answer.total;
      this.columns ??= answer.columns;
      if (!this.failed.size) this.error = null;
      while (this.kept.size > KEPT) this.kept.delete(this.kept.keys().next().value);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.failed.add(page);
      this.error = error;
    } finally {
      if (this.asked.get(page) === controller) this.asked.delete(page);
    }
    this.changed();
  }

  stop() {
    for (const controller of this.asked.values()) controller.abort();
    this.asked.clear();
  }
}
