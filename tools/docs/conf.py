"""Configuration of Sphinx."""

from tools import distributions

project = "Zoo"
copyright = "the authors of Zoo"
version = release = next(iter(distributions.find().values())).version

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "myst_parser",
    "tools.docs.extension",
]

html_theme = "furo"
html_title = f"Zoo {version}"
html_static_path = ["static"]
html_css_files = ["zoo.css"]
# The sources are made from files of the repository, where they are read better.
html_copy_source = False
html_show_sourcelink = False
# What is no page of Sphinx's: the catalogue.
html_extra_path = [str(distributions.ROOT / "build" / "docs-extra")]
html_search_scorer = str(distributions.ROOT / "tools" / "docs" / "scorer.js")

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
# Else each model says of forward() what torch.nn.Module says.
autodoc_inherit_docstrings = False
autodoc_default_options = {"show-inheritance": True}
add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
toc_object_entries_show_parents = "hide"

napoleon_numpy_docstring = False
napoleon_custom_sections = ["Shape"]
napoleon_use_ivar = True
# What is returned is said in words, and several parameters may share a line.
napoleon_use_rtype = False
napoleon_use_param = False

myst_heading_anchors = 3

# A reference to a name that does not exist is an error; see tools.docs.extension.
nitpicky = True
