"""What the notebook on scale needs: streams of ratings, several workers, other engines (notebook 11)."""
