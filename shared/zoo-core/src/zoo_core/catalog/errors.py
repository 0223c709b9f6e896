"""What can go wrong with a catalogue, and with what is asked of it."""


class CatalogError(ValueError):
    """A catalogue file that violates the schema. The message names the file, the table and the key."""

    __module__ = "zoo_core.catalog"  # as users import it


class CatalogWarning(UserWarning):
    """Part of a package's catalogue was left out because it is broken; all other models keep working."""

    __module__ = "zoo_core.catalog"  # as users import it


class UnknownModelError(ValueError):
    """No installed package has a model, or weights, of that name."""

    __module__ = "zoo_core.catalog"  # as users import it


class UnknownWeightsError(UnknownModelError, KeyError):
    """There are no weights of that name. It is a ``KeyError`` too, since torchvision raises one for a wrong member."""

    __module__ = "zoo_core.catalog"  # as users import it
    __str__ = ValueError.__str__  # a KeyError puts its message in quotes
