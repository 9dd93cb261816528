"""Divide: find whole objects."""
