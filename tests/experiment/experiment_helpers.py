"""What several files of experiments use."""

import io

from PIL import Image

import nbhelper as nbh


def ask(prompt, size=1):
    """The function of most experiments here."""
    return nbh.Request("mill", {"prompt": prompt, "size": size}, endpoint="image")


def picture(size=8):
    """A PNG of so many pixels a side."""
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), "#41719c").save(buffer, "PNG")
    return buffer.getvalue()
