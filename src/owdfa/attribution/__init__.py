"""From a file to verdicts on the faces in it: what is looked at, what may be said, which words."""
