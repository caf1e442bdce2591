"""How the documentation site is built: ``sphinx-build -W -n docs build/site``."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "extensions"))

import gatewise  # noqa: E402

project = "gatewise"
author = "The gatewise authors"
project_copyright = "The gatewise authors"
version = release = gatewise.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "borrowed_pages",
    "drawings",
    "formulas",
    "public_names",
]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
exclude_patterns = ["README.md", "gallery/README.rst"]
templates_path = ["_templates"]

# Single backquotes in docstrings: links where a public name is meant, else code.
default_role = "py:obj"
autosummary_generate = True
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_default_options = {
    "members": True,
    # What lists, exceptions and named tuples bring of their own is Python's to describe.
    "inherited-members": "list, tuple, dict, Sequence, Mapping, Exception, ABC, Generic, "
    "BaseEstimator, ClassifierMixin, RegressorMixin, BaseClassifier, BaseRegressor, "
    "BaseCollectionEstimator, BaseAeonEstimator, MultiOutputMixin",
    "special-members": "__call__",
}
# PyTorch is larger than all else together; its classes are described without it.
autodoc_mock_imports = [] if "torch" in sys.modules else ["torch"]
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "amsmath"]
myst_heading_anchors = 3

sphinx_gallery_conf = {
    "examples_dirs": ["gallery"],
    "gallery_dirs": ["gallery_pages"],
    "filename_pattern": r"\.py$",
    "ignore_pattern": r"__init__\.py",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "plot_gallery": True,
    "download_all_examples": False,
    "show_memory": False,
    "write_computation_times": False,
    "remove_config_comments": True,
    "reference_url": {"gatewise": None},
    "doc_module": ("gatewise",),
    "backreferences_dir": "gallery_pages/backreferences",
    "show_signature": False,
    "nested_sections": False,
    "image_scrapers": ("matplotlib", "returned_figures"),
    "capture_repr": ("_repr_html_",),
}

html_theme = "pydata_sphinx_theme"
html_title = "gatewise"
html_static_path = ["_static"]
html_favicon = "_static/gatewise.svg"
html_logo = "_static/gatewise.svg"
html_css_files = ["gatewise.css"]
html_show_sourcelink = False
html_copy_source = False
html_math_renderer = "mathml"
html_theme_options = {
    "logo": {"text": "gatewise"},
    "navbar_end": ["theme-switcher"],
    "navbar_persistent": ["search-button-field"],
    "header_links_before_dropdown": 7,
    "show_prev_next": True,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_context = {"default_mode": "auto"}
html_sidebars = {"index": [], "fifteen_minutes": []}
# The builder that only looks at links inside the site asks no network.
linkcheck_ignore = [r"https?://.*"]
