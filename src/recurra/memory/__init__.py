"""How long a cell remembers: generated tasks, a curriculum over lengths, and the table of cells that solve them."""

from recurra.memory.network import MemoryNetwork
from recurra.memory.table import Results, rows_wanted
from recurra.memory.training import MemoryOptions, MemoryRow, remember

__all__ = ["MemoryNetwork", "MemoryOptions", "MemoryRow", "Results", "remember", "rows_wanted"]
