"""The anchors of headings, in a file of its own because Sphinx looks the function up by its name."""


def jupyter_anchor(heading: str) -> str:
    """Return the anchor that JupyterLab gives a heading: "The source" becomes "The-source"."""
    return heading.replace(" ", "-")
