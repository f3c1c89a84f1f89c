"""Streaming: a model run one piece at a time, with the state as a value."""

from recurra.streaming.decoding import generate
from recurra.streaming.pool import Pool
from recurra.streaming.session import Session, Snapshot

__all__ = ["Pool", "Session", "Snapshot", "generate"]
