"""For those who add a method: files to start from, and the rules that every method keeps."""
