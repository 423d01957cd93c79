"""The notebooks of examples/ as pages of the site, and to be downloaded from there."""

import json
from pathlib import Path

from mkdocs.structure.files import File

EXAMPLES = Path(__file__).parents[2] / "examples"


def as_markdown(path):
    """Cells one after the other; code as it is, since outputs are not kept in the repository."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    parts = []
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        parts.append(f"```python\n{text}\n```" if cell["cell_type"] == "code" else text)
    head, *rest = parts
    where = f"*This page is a notebook: [{path.name}]({path.name}), run by the tests.*"
    return "\n\n".join([head, where, *rest]) + "\n"


def on_files(files, config):
    """Add a page and a file for each notebook."""
    for path in sorted(EXAMPLES.glob("*.ipynb")):
        page = File.generated(config, f"notebooks/{path.stem}.md", content=as_markdown(path))
        files.append(page)
        files.append(
            File.generated(config, f"notebooks/{path.name}", abs_src_path=str(path.resolve()))
        )
    return files
