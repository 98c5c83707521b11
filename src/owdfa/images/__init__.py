"""Pixels: decode a file, find the face, keep the crop, make views of it."""
