"""Sphinx configuration. Build with: sphinx-build docs docs/_build."""

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
