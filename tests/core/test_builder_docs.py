"""The arguments that a builder's docstring need not describe."""

import textwrap

from torch import nn

from zoo_core.builder_docs import describe_arguments


class Net(nn.Module):
    pass


class Elsewhere(nn.Module):
    __module__ = "elsewhere"


def assert_reads(function, text: str) -> None:
    assert function.__doc__ == textwrap.dedent(text).strip()


def test_one_line_becomes_a_description_of_all_common_arguments():
    @describe_arguments
    def net(*, weights=None, progress=True, **kwargs) -> Net:
        """A net."""

    assert_reads(
        net,
        """
        A net.

        Args:
            weights: the checkpoint to load; ``None`` for random parameters.
            progress: show a progress bar for a download.
            **kwargs: arguments of :class:`Net`, and of :func:`zoo_core.builders.build`.
        """,
    )


def test_what_the_docstring_says_itself_stays_in_the_order_of_the_parameters():
    @describe_arguments
    def net(*, weights=None, progress=True, width=1, depth=1, **kwargs) -> nn.Module:
        """A net, of which more
        is said.

        Note that it is small.

        Args:
            width, depth: sizes,
                of which there are two: these.
            **kwargs: none.

        Raises:
            ValueError: too small.
        """

    assert_reads(
        net,
        """
        A net, of which more
        is said.

        Note that it is small.

        Args:
            weights: the checkpoint to load; ``None`` for random parameters.
            progress: show a progress bar for a download.
            width, depth: sizes,
                of which there are two: these.
            **kwargs: none.

        Raises:
            ValueError: too small.
        """,
    )


def test_arguments_come_before_the_first_other_section():
    @describe_arguments
    def net(*, progress=True):
        """A net.

        Raises:
            ValueError: always.
        """

    assert_reads(
        net,
        """
        A net.

        Args:
            progress: show a progress bar for a download.

        Raises:
            ValueError: always.
        """,
    )


def test_own_texts_and_the_returned_class_from_elsewhere():
    def net(*, quantize=False, **kwargs) -> Elsewhere:
        """A net."""

    describe_arguments(net, {"quantize": "make it int8."})
    assert_reads(
        net,
        """
        A net.

        Args:
            quantize: make it int8.
            **kwargs: arguments of :class:`~elsewhere.Elsewhere`, and of :func:`zoo_core.builders.build`.
        """,
    )


def test_nothing_is_added_to_no_docstring_or_to_a_finished_one():
    def bare(*, weights=None):
        pass

    assert describe_arguments(bare).__doc__ is None

    @describe_arguments
    def net(*, weights=None, **kwargs) -> Net:
        """A net."""

    finished = net.__doc__
    assert describe_arguments(net).__doc__ == finished
