"""The documentation: ``nox -s docs`` writes it to ``build/docs``, from the docstrings and the Markdown files of the repository.

``pages`` writes what Sphinx reads, ``conf.py`` configures Sphinx, and ``extension`` teaches it what weights are and which
names from elsewhere exist.
"""
