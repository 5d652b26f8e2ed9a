"""The site is built without a warning, and its search knows every hyper-parameter."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sklcnn import CNNClassifier, CNNFeatures, CNNRegressor

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site without running its examples; return the folder of its pages."""
    pytest.importorskip("myst_parser", reason="the docs extra is not installed")
    pytest.importorskip("sphinx_gallery", reason="the docs extra is not installed")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", DOCS, folder]
    subprocess.run(command, check=True, env=os.environ | {"GALLERY": "0"})
    return folder


def test_every_page_of_the_folder_is_one_of_the_site(site):
    pages = {path.stem for path in DOCS.glob("*.md")}
    assert pages <= {path.stem for path in site.glob("*.html")}


def test_links_between_pages_lead_to_pages_and_headings(site):
    ids = {path: set(re.findall(r'id="([^"]+)"', path.read_text())) for path in site.rglob("*.html")}
    for path in ids:
        body = re.search(r"<article.*</article>", path.read_text(), re.DOTALL)
        for link in re.findall(r'href="([^"#]*\.html)?(?:#([^"]*))?"', body[0] if body else ""):
            page, heading = link
            target = (path.parent / page).resolve() if page and "://" not in page else path
            if "://" not in page:
                assert target in ids and (not heading or heading in ids[target]), (path.name, link)


def test_the_search_finds_every_hyper_parameter_on_the_pages_of_the_reference(site):
    from sphinx.search.en import SearchEnglish

    text = (site / "searchindex.js").read_text()
    index = json.loads(re.search(r"\((\{.*\})\)", text, re.DOTALL)[1])
    stem = SearchEnglish({}).stem
    for estimator in (CNNClassifier, CNNRegressor, CNNFeatures):
        page = index["docnames"].index(f"api/sklcnn.{estimator.__name__}")
        for name in estimator().get_params():
            found = index["terms"].get(stem(name), [])
            assert page in ([found] if isinstance(found, int) else found), (estimator.__name__, name)
