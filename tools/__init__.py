"""What the makers of the course use: set-up, notebooks and their rules, grading, slides, website."""

from pathlib import Path

# The one place that says where the repository is. It needs no package, because set-up starts here.
ROOT = Path(__file__).resolve().parent.parent
