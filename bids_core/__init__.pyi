from .diagnostics import Analysis, Explanation, analyze
from .diagnostics.explaining import explain
from .selection import Selection, select

__all__ = ["Analysis", "Explanation", "Selection", "analyze", "explain", "select"]
