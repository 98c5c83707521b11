"""From crops on disk to batches: which images, in which order, in which views."""
