"""From probabilities to statements that can be defended: pure functions of arrays.

temperature   probabilities that mean what they say, fitted to held-out groups
limits        thresholds that hold a stated budget of false statements
conformal     sets of classes with a stated coverage
statements    what can be said of an image, and which images it would wrong
fit           all of it, from the probabilities of held-out images
"""
