"""The environments' documentation: the committed one is current, and what is written follows from the docstrings."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

import glimpseworld.envs as envs
from glimpseworld.envs.saccade import SaccadeEnv
from glimpseworld.experiments import docs
from glimpseworld.experiments.docs import Page, document, documented_ids, make_page, out_of_date, write

FOLDER = Path(envs.__file__).parent


@pytest.fixture(scope="module")
def pages():
    return [make_page(env_id) for env_id in documented_ids()]


def test_the_committed_documentation_is_current(pages):
    assert out_of_date(pages, FOLDER) == [], "run `glimpseworld docs` and commit what it writes"


def test_every_id_has_a_row_a_page_and_a_picture(pages):
    text = document(pages)
    assert set(envs.ENV_IDS) <= {page.env_id for page in pages}
    for page in pages:
        assert text.count(f"\n## {page.env_id}\n") == 1
        assert text.count(f"\n| [`{page.env_id}`](") == 1
        if page.picture is not None:
            assert f"](pictures/{page.picture_name})" in text
            assert page.picture.dtype == np.uint8 and len(np.unique(page.picture)) > 20
    anchors = re.findall(r"\]\(#([^)]*)\)", text)
    headings = re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
    # GitHub's rule for the anchor of a heading: lower case, punctuation dropped.
    assert anchors == [heading.lower().replace("/", "").replace(" ", "-") for heading in headings]


def test_a_page_is_the_docstring_one_heading_deeper():
    page = make_page("GlimpseWorld/Saccade-v0")
    text = document([page])
    assert "`Dict('glimpse': Box(0, 255, (32, 32, 3), uint8), 'motion': Box(-2.0, 2.0, (2,), float32))`" in text
    assert "\n### Description\n" in text and "\n## Description\n" not in text
    for line in (SaccadeEnv.__doc__ or "").splitlines():
        assert line.strip().lstrip("# ") in text


def test_written_documentation_is_current_until_something_changes(tmp_path):
    frame = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    pages = [Page("GlimpseWorld/A-v0", "A.", "Box()", "Box()", frame), Page("GlimpseWorld/B-v1", "B.")]
    assert out_of_date(pages, tmp_path) == ["README.md", "pictures/A.png"]
    write(pages, tmp_path)
    assert out_of_date(pages, tmp_path) == []
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "pictures" / "A.png"))[..., ::-1], frame)
    changed = [Page("GlimpseWorld/A-v0", "Another.", "Box()", "Box()", frame), pages[1]]
    assert out_of_date(changed, tmp_path) == ["README.md"]
    (tmp_path / "pictures" / "Old.png").touch()
    assert out_of_date(pages, tmp_path) == ["pictures/Old.png"]
    write(pages, tmp_path)
    assert [p.name for p in (tmp_path / "pictures").iterdir()] == ["A.png"]


def test_an_environment_that_needs_data_has_a_page_without_spaces():
    text = document([make_page("GlimpseWorld/StoredViews-v0")])
    assert "of the data you give it" in text and "3DIEBench" in text and "pictures/" not in text


def test_the_command_writes_and_checks(tmp_path, monkeypatch, capsys):
    frame = np.zeros((4, 4, 3), dtype=np.uint8)
    pictures = dict.fromkeys(envs.ENV_IDS, frame)
    monkeypatch.setattr(docs, "make_page", lambda env_id: Page(env_id, "A page.", picture=pictures.get(env_id)))
    with pytest.raises(ValueError, match=r"README\.md, .* out of date"):
        docs.main(["--check", "--folder", str(tmp_path)])
    docs.main(["--folder", str(tmp_path)])
    assert len(list(tmp_path.glob("pictures/*.png"))) == len(envs.ENV_IDS) < len(documented_ids())
    told = f"of {len(documented_ids())} environments, and {len(envs.ENV_IDS)} pictures"
    assert capsys.readouterr().out == f"wrote {tmp_path / 'README.md'}, {told}\n"
    docs.main(["--check", "--folder", str(tmp_path)])
    assert capsys.readouterr().out == f"{tmp_path / 'README.md'} and its pictures are up to date\n"
