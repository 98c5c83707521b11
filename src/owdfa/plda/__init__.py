"""Probabilistic LDA: types are Gaussians about means that are Gaussian themselves."""
