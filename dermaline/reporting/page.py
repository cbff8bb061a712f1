"""One HTML page of a run, with all that it shows inside: no script, no other file, nothing from a network."""

from base64 import b64encode
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt

from dermaline.reporting import results, setting
from dermaline.reporting.run import Run

TEMPLATE = Path(__file__).with_name("page.html")
SECTIONS = (  # in the order of the page; each makes a `blocks.Section` of a run
    setting.about,
    setting.use,
    setting.data,
    results.headline,
    results.by_diagnosis,
    results.melanoma,
    results.confusion,
    results.curves,
    results.calibration,
    results.doubt,
    results.groups,
    results.explanations,
    results.outlines,
    results.strangers,
    setting.decision,
    setting.models,
    setting.rebuild,
    setting.missing,
    setting.reporting,
)
_MARKS = MarkdownIt("zero").enable(["backticks", "emphasis"])  # all else is text: no link, no HTML


def page(run: Run) -> str:
    """The page as HTML; the same bytes for the same run."""
    loader = FileSystemLoader(TEMPLATE.parent)
    jinja = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    jinja.filters |= {"marked": marked, "embedded": embedded}
    sections = [make(run) for make in SECTIONS]
    return jinja.get_template(TEMPLATE.name).render(name=run.name, sections=sections) + "\n"


def marked(words: str) -> str:
    """Words as HTML: `code` and **stress** are marked, everything else is escaped."""
    return _MARKS.renderInline(words)


def embedded(path: Path) -> str | None:
    """A PNG as a data URI; None if it is not there."""
    return f"data:image/png;base64,{b64encode(path.read_bytes()).decode()}" if path.exists() else None
