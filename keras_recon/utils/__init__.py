"""Atomic files, run folders and tables."""
