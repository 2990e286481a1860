"""The site of these pages: `sphinx-build -W docs docs/_build`.

Pages are plain Markdown that reads well without the site. What the site adds is said here: the order of pages is in `_toc.yml`, a
fence that names a file gets the name as its caption, and links to other parts of the repository become text.
"""

from __future__ import annotations

import builtins
import re
import sys
from functools import cache
from importlib import import_module
from importlib.metadata import version as version_of
from pathlib import Path

from docutils import nodes
from pygments.lexers.special import TextLexer
from sphinx.addnodes import download_reference, pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "gb_pipeline"
author = "the gb_pipeline maintainers"
release = version = version_of("gb_pipeline")
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_external_toc",
    "sphinx_copybutton",
    "reference_tables",
]
exclude_patterns = ["_build", "_ext"]

html_theme = "furo"
html_title = f"gb_pipeline {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = html_show_sourcelink = False
html_show_copyright = False
pygments_style = "friendly"
pygments_dark_style = "monokai"

myst_heading_anchors = 4
external_toc_path = "_toc.yml"
copybutton_exclude = ".linenos, .gp, .go"
autodoc_default_options = {
    "members": True,
    "inherited-members": "str,Enum,BaseModel,GbError,Exception,BaseException,tuple,Protocol",
}

# Docstrings write names in single backticks: a link where this site has the name, and code in any case.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_preprocess_types = False
python_maximum_signature_line_length = 80
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"

_FENCE = re.compile(r"^```(\w+) ([^\n]+)\n", re.MULTILINE)
# `Lake`, `Lake.bars`, `Lake.bars()`
_NAME = re.compile(r"([A-Z]\w+)((?:\.\w+)?)(?:\(\))?")


def setup(app: Sphinx) -> None:
    """Hand the site's own steps to Sphinx."""
    app.add_lexer("csv", TextLexer)
    app.connect("source-read", name_files)
    app.connect("doctree-read", settle_links)
    app.connect("missing-reference", link_homes)


def name_files(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Turn ```` ```yaml gb.yaml ```` into a block with that caption; which test proves a block is nothing for readers."""

    def directive(fence: re.Match[str]) -> str:
        language, argument = fence.groups()
        return f"```{language}\n" if "=" in argument else f"```{{code-block}} {language}\n:caption: {argument}\n\n"

    source[0] = _FENCE.sub(directive, source[0])


def settle_links(app: Sphinx, page: nodes.document) -> None:
    """Link names of the API, and leave links to what is no page of this site as text."""
    here = Path(page["source"]).parent
    for link in [*page.findall(pending_xref), *page.findall(download_reference)]:
        target = here / f"{link['reftarget']}{'.md' * (link.get('refdomain') == 'doc')}"
        if target.exists() and not target.resolve().is_relative_to(app.srcdir):
            link.replace_self(link.children)
        elif link.get("refspecific") is False or hasattr(builtins, link["reftarget"]):
            # Sphinx looks whether a type has such an attribute, not at its value, and then takes `bytes` for any attribute of
            # that name.
            link.attributes.pop("refspecific", None)
    for code in list(page.findall(nodes.literal)):
        name = _NAME.fullmatch(code.astext())
        if name and name[1] in _public() and not isinstance(code.parent, pending_xref | nodes.reference):
            target = f"{_public()[name[1]]}{name[2]}"
            link = pending_xref("", refdomain="py", reftype="obj", reftarget=target, refwarn=False)
            code.replace_self(link)
            link += code


def link_homes(
    app: Sphinx, environment: BuildEnvironment, link: pending_xref, content: nodes.Element
) -> nodes.Element | None:
    """Link a class by its home (`gb_pipeline.market.symbol.Symbol`) to where it is public (`gb_pipeline.Symbol`)."""
    name = link.get("reftarget", "")
    public = _public().get(name.rpartition(".")[2]) if name.startswith("gb_pipeline.") else None
    if public is None:
        return None
    python = environment.domains.python_domain
    return python.resolve_xref(environment, link["refdoc"], app.builder, "obj", public, link, content)


@cache
def _public() -> dict[str, str]:
    """Public classes by their own name, with their module."""
    modules = map(import_module, ("gb_pipeline.providers", "gb_pipeline"))
    return {name: f"{module.__name__}.{name}" for module in modules for name in module.__all__}
