"""Measuring models, and comparing them with baselines and codecs."""
