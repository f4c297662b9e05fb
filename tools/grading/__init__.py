"""For instructors: student versions made from the solutions, and points for what students hand in."""
