"""Each module builds one kind of asset, whose body resolves what to do, calls the domain and reports."""
