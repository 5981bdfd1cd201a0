"""Sphinx configuration. Build with: sphinx-build docs docs/_build.

The gallery runs all examples, for minutes; leave that out with: sphinx-build -D plot_gallery=0.
"""

import re

import skncvqvae

project = "skncvqvae"
author = "the skncvqvae developers"
version = release = skncvqvae.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
]
numpydoc_show_class_members = False
autodoc_typehints = "none"  # docstrings tell types in words
default_role = "literal"
myst_heading_anchors = 3
exclude_patterns = ["_build"]
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "nested_sections": False,
    "ignore_pattern": r"(^|[/\\])(?!plot_)[^/\\]+$",
}
html_theme = "alabaster"


def skip_metadata_requests(app, what, name, obj, skip, options):
    """Leave out ``set_fit_request`` and its like, whose text refers to scikit-learn's pages."""
    return True if re.fullmatch(r"set_\w+_request", name) else None


def setup(app):
    """Sphinx calls this."""
    app.connect("autodoc-skip-member", skip_metadata_requests)
