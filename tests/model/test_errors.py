"""The text of an error as IPython shows it."""

import pytest

import nbhelper as nbh


def test_a_traceback_in_ipython_shows_the_callers_lines_alone():
    """No line of this package stands between the call and the error's text, whichever folder raised it."""
    with pytest.raises(nbh.BadInput) as caught:
        nbh.Task.parse("https://kie.ai/")

    shown = caught.value._render_traceback_()

    assert len(caught.traceback) > 1
    assert [line.partition(", ")[0] for line in shown[:-1]] == [__file__]
    assert shown[0].endswith('nbh.Task.parse("https://kie.ai/")')
    assert shown[-1] == f"BadInput: {caught.value}"
