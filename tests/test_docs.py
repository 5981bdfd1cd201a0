"""What the pages say is so: links lead somewhere, commands are CI's, and snippets run."""

import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
README = (ROOT / "README.md").read_text()
# What stands between backticks and looks like a path of the repository.
PATH = re.compile(r"`((?:\.ci|docs|examples|skncvqvae|tests)/[\w./-]+)`")


def name_of(path):
    return str(path.relative_to(ROOT))


def fenced(text, language):
    """Return the code of each fenced block in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def without_code(text):
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text):
    """Return the anchors of a page's headings, as GitHub and myst-parser make them."""
    headings = re.findall(r"^#+ (.*)$", without_code(text), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.strip().replace(" ", "-") for heading in plain}


def broken_links(page):
    """Yield the relative links of a page that lead nowhere."""
    text = without_code(page.read_text())
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"^\[[^]]+\]: (\S+)$", text, re.M)
    for target in targets:
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        if not linked.exists() or (anchor and anchor not in anchors(linked.read_text())):
            yield target


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    assert not list(broken_links(page))


def test_broken_links_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# One `heading`, of four words\n"
        "[a](page.md) [b](#one-heading-of-four-words) [c](https://example.org) [d](no.md)\n"
        "[e](#two) [f][g]\n\n[g]: none.md\n"
    )
    assert list(broken_links(page)) == ["no.md", "#two", "none.md"]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_paths_named_exist(page):
    named = PATH.findall(page.read_text())
    assert not [path for path in named if not (ROOT / path).exists()]


@pytest.mark.parametrize("code", fenced(README, "python"))
def test_snippets_of_the_readme_run(code, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})


def test_the_page_of_tables_runs_from_its_top_to_its_end(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = fenced((ROOT / "docs" / "from_a_table.md").read_text(), "python")
    code = "\n".join(blocks)
    # All is as on the page but the length of the training.
    for name in ("NCVQVAETransformer", "AutoregressiveTokenPrior"):
        assert f"{name}(" in code
        code = code.replace(f"{name}(", f"{name}(max_epochs=2, ")
    page = {"__name__": "__main__"}
    exec(compile(code, "from_a_table.md", "exec"), page)
    assert page["reader"].channels_ == page["CHANNELS"] and page["reader"].step_ == 0.1
    assert len(page["X"]) == len(page["y"]) == 40
    assert page["X_walking"].shape[:2] == (20, 6) and np.isfinite(page["X_walking"]).all()
    assert len(page["unusual"]) == 3
    assert {path.name for path in tmp_path.iterdir()} == {
        "reader.safetensors",
        "generator.safetensors",
    }


def test_ci_runs_the_readmes_test_command():
    *_, command = fenced(README, "sh")
    assert command.strip().endswith("-m pytest")
    steps = [line.strip() for line in (ROOT / ".ci" / "run").read_text().splitlines()]
    wanted = command.strip().split(" && ")
    assert [step for step in steps if step in wanted] == wanted


def test_the_quickstart_of_the_readme_is_ours():
    command, *_ = fenced(README, "sh")
    script = command.split()[-1]
    assert (ROOT / script).exists()
    assert script in (ROOT / ".ci" / "run").read_text()
