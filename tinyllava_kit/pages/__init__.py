"""Pages of one file: from jinja2 templates and one style sheet, with pictures, sounds and charts in the page itself."""

from .chart import LineChart as LineChart
from .media import Inline as Inline
from .media import inline as inline
from .media import inline_file as inline_file
from .templating import render as render
