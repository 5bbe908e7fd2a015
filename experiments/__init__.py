"""Scripts that run the library: one main (`run`), configurations as data."""
