"""How Sphinx builds these pages: `sphinx-build -W docs build/docs`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import pages_from_code

from transformer_calc import __version__

project = "tcalc"
author = "The transformer-calc authors"
release = version = __version__
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
smartquotes = False  # --tp is not a dash, and what is shown is what is typed
add_module_names = False
maximum_signature_line_length = 80
toc_object_entries = False
html_theme = "furo"
html_title = f"tcalc {version}"
html_static_path = ["static"]
html_css_files = ["wide.css"]
html_copy_source = False
html_show_copyright = False


def setup(app: Any) -> None:
    """Make the pages of the reference before the others are read."""
    app.connect("builder-inited", lambda _: pages_from_code.write())
