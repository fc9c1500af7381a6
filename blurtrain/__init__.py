"""blurtrain: train, tune and compare vision networks under blur."""

__version__ = "0.1.0"
