"""What a user might have outside the package, to be named with a dot."""
