"""Looking at what was learnt: the report and the model card of a run.

Both are written from the run record, a plain dictionary; neither knows a model, a task or where numbers came
from.
"""

from __future__ import annotations

from recurra.inspection.card import write_card
from recurra.inspection.report import write_report

__all__ = ["write_card", "write_report"]
