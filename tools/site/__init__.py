"""The website of the course: its settings, its home page, and the PDF that is printed from it."""
