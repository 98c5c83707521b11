"""Estimators of the number of classes: one idea, one file. A file put here is found by its name."""
