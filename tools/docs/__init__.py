"""The documentation, which ``nox -s docs`` writes to ``build/docs``: docstrings and the repository's Markdown files.

``pages`` writes what Sphinx reads, ``conf.py`` configures Sphinx, and ``extension`` teaches it what weights are and
which names from elsewhere exist.
"""
