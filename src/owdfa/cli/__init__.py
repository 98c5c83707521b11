"""The command line: a command parses, calls one stage and prints; it decides nothing."""
