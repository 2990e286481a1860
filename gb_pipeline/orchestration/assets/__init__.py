"""Asset factories: each resolves what to do, calls the domain and reports."""
