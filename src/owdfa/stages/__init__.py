"""The stages, in order: scan, prepare, split, train, predict, score, report.

Each is one public function that reads files and writes a file; the command line has the same verbs.
"""
