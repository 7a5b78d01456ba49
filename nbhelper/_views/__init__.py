"""A history as words, card, gallery or thumbnail. Imports the model and the environment; no engine, store or network.

Where a new view goes: what it says of a history is a function in `words.py`, which all views share; how it looks is a
pure function of histories and a `Scene` in a file of its own (`card.py`, `gallery.py`, `history_line.py`), its markup
made with `markup.py` and styled by a `.css` file of the same name; when it is drawn stands apart from both, in a
context manager that gives a function `draw()` (`terminal.text_view`, `still_card.html_view`) or in the cards' thread
(`live_card.py`). `_watching/choose_view.py` chooses among them.
"""
