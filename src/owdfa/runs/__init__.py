"""The run folder: settings, checkpoints, log, and what they rest on."""
