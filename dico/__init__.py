"""Divide and conquer: images to multi-granular masks."""
