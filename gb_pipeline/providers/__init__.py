"""One file per vendor behind one protocol (`base`), over one transport layer (`transport`). Providers never write."""
