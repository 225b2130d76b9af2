"""What the site has besides docs/*.md: README and its neighbours as pages, the notebook as a page.

The pages in the repository stay plain Markdown with links that work on a code host; here links are
turned to where the site has what they name. MkDocs calls `on_files` and `on_page_markdown`.
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
ROOT_PAGES = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
NOTEBOOK = Path("notebook/select.ipynb")
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that do not lie in docs/."""
    for name, page in ROOT_PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=_links(text, root_page=True)))
    text, pictures = notebook_page(ROOT / "docs" / NOTEBOOK)
    files.append(File.generated(config, str(NOTEBOOK.with_suffix(".md")), content=text))
    for name, content in pictures.items():
        files.append(File.generated(config, str(NOTEBOOK.parent / name), content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Turn links out of docs/ to the site's pages."""
    if page.file.src_uri in ROOT_PAGES.values():
        return markdown
    return _links(markdown, root_page=False, depth=page.file.src_uri.count("/"))


def _links(text: str, *, root_page: bool, depth: int = 0) -> str:
    """Return a page with links to where the site has what they name; to files alone, no link."""

    def replaced(found: re.Match[str]) -> str:
        mark, label, target = found.groups()
        up = "../" * depth
        if "://" in target or target.startswith("#"):
            return found[0]
        path, hash_, anchor = target.partition("#")
        if root_page:
            path = path.removeprefix("docs/") if path.startswith("docs/") else f"../{path}"
        outside = path.startswith(f"{up}../")
        name = path.removeprefix(f"{up}../")
        if outside and name in ROOT_PAGES:
            return f"{mark}[{label}]({up}{ROOT_PAGES[name]}{hash_}{anchor})"
        if path.endswith(".ipynb"):
            return f"[{label}]({path.removesuffix('.ipynb')}.md)"
        return label if outside else f"{mark}[{label}]({path}{hash_}{anchor})"

    return _LINK.sub(replaced, text)


def notebook_page(path: Path) -> tuple[str, dict[str, bytes]]:
    """Return a notebook with its stored outputs as Markdown, and its pictures by file name."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{path.stem}-{len(pictures)}.png"
                pictures[name] = base64.b64decode(data["image/png"])
                parts.append(f"![What the cell above draws]({name})")
            elif "text/html" in data:
                parts.append(_plain_html("".join(data["text/html"])))
            else:
                text = "".join(data.get("text/plain", output.get("text", ""))).rstrip()
                parts.append(f"```text\n{text}\n```")
    return "\n\n".join(parts) + "\n", pictures


def _plain_html(html: str) -> str:
    """Return a table's HTML without pandas' own style, in one block for Markdown."""
    html = re.sub(r"<style.*?</style>", "", html, flags=re.DOTALL)
    html = re.sub(r' (border|class|style)="[^"]*"', "", html)
    return "".join(line.strip() for line in html.splitlines())
