"""Marks texts for translation. The client knows no Django; whoever shows a text translates it."""


def gettext_noop(text: str) -> str:
    """Return the text as it is. `makemessages` collects it by this function's name."""
    return text
