"""For makers of the course: execute, rules, grading, slides, site. Students need none of it."""
