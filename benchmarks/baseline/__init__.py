"""What a plain implementation of the published methods does, to measure ours against."""
