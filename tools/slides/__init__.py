"""Offline slide decks from the notebooks: ``python -m tools.slides``."""
