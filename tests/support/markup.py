"""Texts that try to become markup, and the elements of a piece of HTML."""

from __future__ import annotations

from html.parser import HTMLParser

_ACTS = (
    "<script>window.hit={n}</script>",
    "<img src=x onerror=window.hit={n}>",
    "<svg onload=window.hit={n}>",
    "<svg><script>window.hit={n}</script></svg>",
    "<svg><animate onbegin=window.hit={n} attributeName=x dur=1s>",
    "<body onload=window.hit={n}>",
    "<iframe srcdoc='<script>parent.hit={n}</script>'></iframe>",
    "<iframe src=javascript:parent.hit={n}></iframe>",
    "<a href=javascript:window.hit={n}>x</a>",
    "<details open ontoggle=window.hit={n}>",
    "<video><source onerror=window.hit={n}></video>",
    "<input autofocus onfocus=window.hit={n}>",
    "<object data=javascript:window.hit={n}>",
    "<embed src=javascript:window.hit={n}>",
    "<form><button formaction=javascript:window.hit={n}>x",
    "<link rel=stylesheet href=https://evil.example/{n}.css>",
    "<meta http-equiv=refresh content='0;url=https://evil.example/{n}'>",
    "<base href=https://evil.example/{n}/>",
    "<img src=https://evil.example/{n}.gif>",
    "<style>@import 'https://evil.example/{n}.css';.nbh-card{{display:none}}</style>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=window.hit={n}&gt;'>",
    "<noscript><p title='</noscript><img src=x onerror=window.hit={n}>'>",
    "<template><img src=x onerror=window.hit={n}></template>",
    "<marquee onstart=window.hit={n}>x</marquee>",
    "<IMG SRC=x oNeRrOr=window.hit={n}>",
    "<img/src=x/onerror=window.hit={n}>",
    "<img\tsrc=x\nonerror=window.hit={n}>",
    "<<script>window.hit={n}//<</script>",
    "<img src=x onerror=window.hit={n} //",
    "<scr\x00ipt>window.hit={n}</scr\x00ipt>",
    "<x style=animation-name:y onanimationstart=window.hit={n}>",
    "<details style=position:fixed;inset:0 open>",
)
_AROUND = (
    "{}",
    '">{}',
    "'>{}",
    "--></style></title></textarea></script>{}",
    "\u202e{}",
    "&lt;x&gt;{}",
)
_OTHER = (
    '" onmouseover=window.hit={n} x="',
    "' onmouseover=window.hit={n} x='",
    '" autofocus onfocus=window.hit={n} tabindex=1 x="',
    '"style="position:fixed;inset:0;background:url(https://evil.example/{n})',
    "javascript:window.hit={n}",
    "&lt;script&gt;window.hit={n}&lt;/script&gt;",
    "&#60;script&#62;window.hit={n}&#60;/script&#62;",
    "&lt;img src=x onerror=window.hit={n}&gt;",
    "\uff1cscript\uff1ewindow.hit={n}\uff1c/script\uff1e",
    "\u003cscript\u003ewindow.hit={n}\u003c/script\u003e",
    "[x](javascript:window.hit={n})",
    "![x](https://evil.example/{n}.png)",
    "<https://evil.example/{n}>",
    "```\n</code></pre><script>window.hit={n}</script>",
    "$\\href{{javascript:window.hit={n}}}{{x}}$",
    "$$\\unicode{{<img src=x onerror=window.hit={n}>}}$$",
    "\\(\\style{{position:fixed}}{{x}}\\)",
    "${{window.hit={n}}}",
    "{{{{constructor.constructor('window.hit={n}')()}}}}",
    "]]><script>window.hit={n}</script><![CDATA[",
    "<!--[if IE]><script>window.hit={n}</script><![endif]-->",
    "<?php echo '<script>window.hit={n}</script>' ?>",
    "\x1b]8;;javascript:window.hit={n}\x07x\x1b]8;;\x07",
    "+ADw-script+AD4-window.hit={n}+ADw-/script+AD4-",
    "%3Cscript%3Ewindow.hit={n}%3C/script%3E",
    "\ud83d<script>window.hit={n}</script>",
)
_ALL = [around.format(act) if around != "{}" else act for act in _ACTS for around in _AROUND] + list(_OTHER)
PAYLOADS = tuple(text.replace("{n}", str(n)).replace("{{", "{").replace("}}", "}") for n, text in enumerate(_ALL, 1))
"""More than two hundred texts; a script of one that runs sets `window.hit` to its number."""


class ParsedHtml(HTMLParser):
    """The elements, attributes and text of a piece of HTML.

    Attributes:
        parts: Every element with its attributes' names, in order.
        values: Every attribute's value, as (element, name, value).
        text: All text outside style sheets.
    """

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.parts: list[tuple[str, tuple[str, ...]]] = []
        self.values: list[tuple[str, str, str]] = []
        self.text = ""
        self._style = False
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.parts.append((tag, tuple(sorted(name for name, _ in attrs))))
        self.values += [(tag, name, value or "") for name, value in attrs]
        self._style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        """Leave a style sheet: text counts again."""
        self._style = self._style and tag != "style"

    def handle_data(self, data: str) -> None:
        """Note text."""
        if not self._style:
            self.text += data

    def handle_comment(self, data: str) -> None:
        """Note a comment among the elements: the library's HTML has none."""
        self.parts.append((f"<!--{data}", ()))

    def handle_decl(self, decl: str) -> None:
        """Note a declaration among the elements: the library's HTML has none."""
        self.parts.append((f"<!{decl}", ()))

    def handle_pi(self, data: str) -> None:
        """Note a processing instruction among the elements: the library's HTML has none."""
        self.parts.append((f"<?{data}", ()))
