"""Extractors: image to features."""
