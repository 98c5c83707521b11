"""What the training loop calls: devices, optimiser rows, sums for the log, choice of checkpoint."""
