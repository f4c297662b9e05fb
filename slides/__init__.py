"""Offline slide decks from the notebooks: ``python -m slides``."""
