"""The methods: one paper, one file. A file put here is found by its name."""
