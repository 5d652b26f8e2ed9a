"""How Sphinx builds the site: `make docs`, or `make docs GALLERY=0` without running the examples.

The pages are Markdown that reads well on GitHub, too. Nothing is fetched while they are built.
"""

import os
import re
import sys
import warnings
from pathlib import Path

import matplotlib
from sphinx_gallery.sorting import FileNameSortKey

sys.path.insert(0, str(Path(__file__).parents[1]))
from sklcnn import __version__

ROOT = Path(__file__).parents[1]
RUN_GALLERY = os.environ.get("GALLERY", "1") != "0"

ALONE = (
    "getting_started recipes questions coming_from extending performance reliability architecture limits contributing "
    "changes"
).split()

project, author, release = "sklcnn", "The sklcnn developers", __version__
version = release
project_copyright = author

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "sphinxcontrib.mermaid",
    "matplotlib.sphinxext.plot_directive",
]
exclude_patterns = ["_build", "_templates", "sg_execution_times.rst"]
templates_path = ["_templates"]

# Markdown: links to headings, as on GitHub, and its fences for diagrams.
myst_heading_anchors = 4
myst_fence_as_directive = ["mermaid"]
suppress_warnings = ["config.cache"]  # sphinx-gallery's settings hold a class and functions

# The reference: a page for each public name. numpydoc's own list of members would repeat what autodoc shows.
autosummary_generate = True
autodoc_typehints = "none"  # numpydoc's sections say them
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
# `name` in a docstring is code; Sphinx' default is emphasis.
default_role = "code"

plot_html_show_source_link = False
plot_html_show_formats = False
plot_formats = [("png", 130)]
plot_rcparams = {"savefig.bbox": "tight"}


class CourseFirst(FileNameSortKey):
    """The order of the examples: the course, the others by name, and last the server, which is not run."""

    def __call__(self, filename):
        """Return what an example is sorted by."""
        return filename != "plot_course.py", filename.startswith("deploy"), filename


matplotlib.use("Agg")
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/plot_" if RUN_GALLERY else r"/none_of_them",
    "ignore_pattern": r"(^|/)(?!plot_|deploy_onnx)[^/]*\.py$",  # scripts without a title are no pages
    "within_subsection_order": CourseFirst,
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "min_reported_time": 1e9,
    "matplotlib_animations": False,
    "backreferences_dir": "auto_examples/backreferences",
    "doc_module": ("sklcnn",),
    "write_computation_times": False,
}
# What the examples show is on the pages; that they show it without a window is no news there.
warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive")

smartquotes = False  # quotes are parts of values, to be copied
html_theme = "pydata_sphinx_theme"
html_title = "sklcnn"
html_static_path = ["_static"]
html_css_files = ["sklcnn.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "show_toc_level": 2,
    "header_links_before_dropdown": 5,
    "navigation_with_keys": False,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "pygments_light_style": "tango",
    "pygments_dark_style": "github-dark",
}
# Pages without others below them have no list of those to show.
html_sidebars = {page: [] for page in ("index", *ALONE)}
html_context = {"default_mode": "auto"}

# Pages of the site that are files of the repository's root.
ROOT_PAGES = {"contributing": "CONTRIBUTING.md", "changes": "CHANGELOG.md"}
GALLERY_LINK = re.compile(r"\]\(\.\./examples/(plot_\w+|deploy_onnx)\.py\)")


def adapt_source(app, docname, source):
    """Turn a page's links to files of the repository into links to the pages that they are on the site."""
    if docname in ROOT_PAGES:
        path = ROOT / ROOT_PAGES[docname]
        app.env.note_dependency(str(path))  # the page is built again when that file changes
        source[0] = path.read_text().replace("](docs/", "](")
    text = GALLERY_LINK.sub(r"](auto_examples/\1.rst)", source[0])
    text = text.replace("](../examples/)", "](auto_examples/index.rst)")
    text = text.replace("](../README.md)", "](index.md)").replace("](README.md)", "](index.md)")
    for page, name in ROOT_PAGES.items():
        text = text.replace(f"](../{name})", f"]({page}.md)").replace(f"]({name})", f"]({page}.md)")
    source[0] = text


def escape_stars(app, what, name, object_, options, lines):
    """Keep the star of shapes, `(n, *spatial)`, from beginning an emphasis, where it isn't in code."""
    for place, line in enumerate(lines):
        parts = line.split("`")
        parts[::2] = [re.sub(r"(?<![*\\])\*(?=\w)", r"\\*", text) for text in parts[::2]]
        lines[place] = "`".join(parts)


def is_told_of_elsewhere(app, what, name, object_, skip, options):
    """Skip what a class's own docstring lists, its attributes after `fit`, and what only skl2onnx asks for."""
    return skip or name.endswith("_") or name.startswith("onnx_")


def let_names_break(app, pagename, templatename, context, doctree):
    """Let long names in code break behind `_`, `.`, `(` and `=`, where a page is too narrow for them."""

    def with_breaks(text):
        return re.sub(r"(?<=\w[_.(=/])(?=[A-Za-z&])", "<wbr>", text[0])

    def in_code(code):
        return re.sub(r">[^<]{10,}<", with_breaks, code[0])

    if "body" in context:
        context["body"] = re.sub(r"<code .*?</code>", in_code, context["body"], flags=re.DOTALL)


def setup(app):
    """Connect what this file adds to Sphinx."""
    app.connect("source-read", adapt_source)
    app.connect("html-page-context", let_names_break)
    app.connect("autodoc-process-docstring", escape_stars, priority=900)
    app.connect("autodoc-skip-member", is_told_of_elsewhere)
