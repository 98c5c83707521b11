"""Scores of open-world attribution, as pure functions of arrays."""
