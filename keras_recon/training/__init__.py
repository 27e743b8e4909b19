"""Training of a run: options, backups, distribution, adversarial training and results."""
