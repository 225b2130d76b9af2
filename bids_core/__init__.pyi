from .diagnostics import Analysis, Explanation, analyze, explain
from .selection import Selection, select

__all__ = ["Analysis", "Explanation", "Selection", "analyze", "explain", "select"]
