"""Sphinx settings; every warning is an error (`tox -e docs`)."""

project = "s3reader"
author = "the s3reader authors"
copyright = author

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
html_theme = "alabaster"
