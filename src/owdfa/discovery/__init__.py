"""From embeddings to groups with ids that last: pure functions of arrays and sets."""
