"""A text kept as what it has beside another one comes back, and is short where they are nearly the same."""

from hypothesis import given
from hypothesis import strategies as st

from nbhelper._alike import text_of, told_from

ROW = (
    '["0661-{n}","2026-11-29T15:17:51+00:00",null,"kie","task-{n}",null,0,0,"[]","{{\\"prompt\\":\\"owl {n}\\"}}"]' * 4
)


@given(
    st.text(max_size=300) | st.sampled_from(["ü\ud800" * 40, "\0", ROW]), st.text(max_size=300), st.integers(0, 9000)
)
def test_a_text_comes_back(text, like, n_more):
    """Whatever it is and whatever it is compared with, lone surrogates and long texts included."""
    other = (like + "x" * n_more).encode("utf-8", "surrogatepass")

    assert text_of(other, told_from(other, text)) == text


def test_what_two_texts_share_costs_nothing():
    """Some ten differences in four hundred characters are some ten times two bytes."""
    like, text = ROW.format(n=1), ROW.format(n=731)

    assert len(told_from(like.encode(), text)) < len(text) / 5
