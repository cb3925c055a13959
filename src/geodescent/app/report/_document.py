"""A page of HTML that needs no other file and no network."""

from geodescent._version import __version__
from geodescent.app.report._markup import escaped
from geodescent.app.report._style import PAGE_STYLE


def document(title: str, body: str, footer: str = "") -> str:
    """The whole page.

    Args:
        title: text, which is escaped here.
        body: HTML.
        footer: a sentence more at the end.
    """
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="geodescent {escaped(__version__)}">
<title>{escaped(title)}</title>
<style>{PAGE_STYLE}</style>
</head>
<body>
<main>
{body}
<footer>Written by geodescent {escaped(__version__)}. This page is one file: it can be sent, printed and read without a
network. {footer}</footer>
</main>
</body>
</html>
"""
